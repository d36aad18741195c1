"""Promise: what docs/deployment.md and deploy/ tell people to do fits the program.

No Docker engine, cluster or systemd is at hand: the files are read, and what they name must be
there. What the page says about backups is done.
"""

from __future__ import annotations

import io
import re
import shlex
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
import yaml

import arguments
import config
import server
from config import Settings
from jobs.options import RunOptions
from jobs.queue import queue_name
from jobs.service import Jobs
from jobs.views import JobState
from web.context import KEY
from worker.loop import Identity, SpanLoop

ROOT = Path(__file__).parents[1]
DEPLOY = ROOT / "deploy"
PAGE = ROOT / "docs/deployment.md"
COMPOSE = [ROOT / "docker-compose.yml", *sorted(DEPLOY.glob("compose.*.yml"))]
MANIFESTS = [*COMPOSE, *sorted(DEPLOY.glob("*.y*ml"))]
OF_COMPOSE = {  # of the compose files themselves
    "RABBITMQ_PASSWORD", "POSTGRES_PASSWORD", "BIND", "DATA_PATH", "PRIVATE_ADDRESS",
    "FLOWER_PASSWORD", "FLOWER_PORT", "GPU",
}  # fmt: skip


def settings_known() -> set[str]:
    return set(re.findall(r'take\(\s*"([A-Z_]+)"', (ROOT / "config.py").read_text()))


def services() -> Iterator[tuple[str, dict[str, Any]]]:
    for file in COMPOSE:
        yield from yaml.safe_load(file.read_text())["services"].items()


def manifests(kind: str) -> list[dict[str, Any]]:
    found = yaml.safe_load_all((DEPLOY / "kubernetes.yaml").read_text())
    return [manifest for manifest in found if manifest["kind"] == kind]


def containers() -> list[tuple[dict[str, Any], dict[str, Any]]]:
    pods = [manifest["spec"]["template"]["spec"] for manifest in manifests("Deployment")]
    return [(pod, container) for pod in pods for container in pod["containers"]]


def test_variables_are_settings_or_said_at_the_top_and_secrets_have_no_default() -> None:
    for file in COMPOSE:
        for name, rest in re.findall(r"\$\{([A-Z_]+)([^}]*)\}", file.read_text()):
            assert name in settings_known() | OF_COMPOSE, f"{file.name}: {name}"
            if name.endswith(("PASSWORD", "KEY", "_URL")):
                assert re.match(r":\?|:\+|:-$", rest), f"{file.name}: {name}{rest}"
    page = PAGE.read_text()
    assert all(name in page for name in OF_COMPOSE)


def test_our_services_are_given_settings_that_there_are_and_log_as_json() -> None:
    ours = [service for name, service in services() if name in {"server", "worker"}]
    built = [service for service in ours if "environment" in service]
    assert len(built) == 3
    for service in built:
        names = set(service["environment"])
        assert names <= settings_known()
        assert service["environment"]["LOG_FORMAT"] == "${LOG_FORMAT:-json}"
        assert service["restart"] == "unless-stopped"
    for _, container in containers():
        given = {item["name"]: item["value"] for item in container["env"]}
        assert given.keys() <= settings_known()
        assert given["LOG_FORMAT"] == "json"


def test_their_commands_can_be_given() -> None:
    commands = [service["command"] for _, service in services() if "command" in service]
    commands += [container["args"] for _, container in containers()]
    units = "".join(unit.read_text() for unit in (DEPLOY / "systemd").iterdir())
    starts = re.findall(r"^ExecStart=/opt/mask-relay/(.*)$", units, re.M)
    assert len(starts) == 2
    for start in starts:
        program, *rest = shlex.split(start)
        if program == "start_worker.sh":
            assert (ROOT / program).is_file()
        else:
            commands.append(["relay", *rest])
    for program, *rest in commands:
        assert program == "relay"
        arguments.build_parser().parse_args(rest)


def test_probes_ask_for_pages_that_there_are(settings: Settings) -> None:
    app = server.create_app(settings)
    pages = {rule.rule for rule in app.url_map.iter_rules()}
    app.extensions[KEY].jobs.close()
    probes = [
        container[probe]["httpGet"]["path"]
        for _, container in containers()
        for probe in ("startupProbe", "livenessProbe", "readinessProbe")
        if probe in container
    ]
    assert set(probes) == {"/healthz", "/readyz"} <= pages
    assert "http://127.0.0.1:5000/readyz" in (ROOT / "docker-compose.yml").read_text()
    assert "/metrics" in pages


def test_workers_have_time_to_give_their_span_back() -> None:
    for name, service in services():
        if name == "worker":
            assert service["stop_grace_period"] == "1m"
    graces = [pod.get("terminationGracePeriodSeconds") for pod, _ in containers()]
    assert 60 in graces
    for unit in (DEPLOY / "systemd").iterdir():
        assert "TimeoutStopSec=60" in unit.read_text()


def test_figures_that_are_asked_for_are_told(settings: Settings) -> None:
    app = server.create_app(settings)
    told = set(re.findall(r"^# TYPE (\w+)", app.test_client().get("/metrics").text, re.M))
    app.extensions[KEY].jobs.close()
    asked = {
        name
        for file in [*MANIFESTS, PAGE]
        for name in re.findall(r"\brelay_[a-z_]+\b", file.read_text())
    }
    assert {"relay_queue_depth", "relay_spans", "relay_lease_expiries_total"} <= asked
    assert asked <= told


def test_flower_is_closed_to_others_and_knows_our_queue() -> None:
    text = yaml.safe_load((ROOT / "docker-compose.yml").read_text())
    flower = text["services"]["flower"]
    assert flower["profiles"] == ["flower"]
    assert all(port.startswith("127.0.0.1:") for port in flower["ports"])
    assert "FLOWER_PASSWORD" in flower["environment"]["FLOWER_BASIC_AUTH"]
    address = text["services"]["worker"]["environment"]["DATABASE_URL"]
    url = re.sub(r"\$\{[^}]*\}", "secret", address)
    name = queue_name(Settings(data_dir=Path("/data"), database_url=url))
    assert f'"{name}"' in text["configs"]["flower"]["content"]


def test_nothing_but_the_dashboard_is_published_unless_asked_for() -> None:
    for name, service in yaml.safe_load((ROOT / "docker-compose.yml").read_text())[
        "services"
    ].items():
        if name not in {"server", "flower"}:
            assert "ports" not in service
    config.load({}, ROOT / "example.env")


@pytest.fixture
def old_backup(jobs: Jobs, settings: Settings, export: Path, tmp_path: Path) -> Path:
    """A backup made with the page's own command, before a run ended and a new export came."""
    receive(jobs, export)
    jobs.start_run("264", RunOptions(engine="flow"))
    copy = tmp_path / "relay-backup.db"
    block = re.search(r"^python3? -c (\".*VACUUM INTO.*\") (.*)$", PAGE.read_text(), re.M)
    assert block is not None
    [code] = shlex.split(block[1])
    source, target = shlex.split(block[2])
    assert (source, target) == ("$DATA_DIR/relay.db", "$BACKUP/relay.db")
    subprocess.run([sys.executable, "-c", code, settings.data_dir / "relay.db", copy], check=True)
    work(settings, jobs)
    assert jobs.job("264").job.state is JobState.COMPLETED
    receive(jobs, export, changed=True)
    return copy


def test_an_old_database_beside_newer_files_goes_on_and_overwrites_nothing(
    jobs: Jobs, settings: Settings, export: Path, old_backup: Path
) -> None:
    newer = {path: path.read_bytes() for path in files(settings) if path.name != "export.zip"}
    jobs.close()
    for name in ("relay.db", "relay.db-wal", "relay.db-shm"):
        (settings.data_dir / name).unlink(missing_ok=True)
    (settings.data_dir / "relay.db").write_bytes(old_backup.read_bytes())

    restored = Jobs(settings)
    assert restored.job("264").job.state is JobState.QUEUED
    work(settings, restored)
    assert restored.job("264").job.state is JobState.COMPLETED
    result = restored.result("264")
    assert result.read_bytes() == newer[result], "the same run gives the same result"
    receive(restored, export, changed=True)
    assert restored.job("264").job.revision.number == 3, "2 was given out before"
    restored.close()


def work(settings: Settings, jobs: Jobs) -> None:
    loop = SpanLoop(settings, jobs.database, Identity(name="w", host="h", device="cpu"))
    while loop.step():
        pass


def files(settings: Settings) -> list[Path]:
    return [path for path in (settings.data_dir / "jobs").rglob("*") if path.is_file()]


def receive(jobs: Jobs, export: Path, *, changed: bool = False) -> None:
    """Take the export in; with a comment at its end it is another one with the same frames."""
    data = export.read_bytes()
    if changed:
        data = data[:-2] + (4).to_bytes(2, "little") + b"anew"
    jobs.receive("264.zip", io.BytesIO(data))


def test_a_copy_of_the_open_file_alone_is_no_backup(jobs: Jobs, export: Path) -> None:
    """Why the page says so: what was written last lies beside the file."""
    receive(jobs, export)
    data = jobs.settings.data_dir
    copy = data / "copy.db"
    copy.write_bytes((data / "relay.db").read_bytes())
    with closing(sqlite3.connect(copy)) as found:
        try:
            rows = found.execute("SELECT count(*) FROM jobs").fetchone()[0]
        except sqlite3.DatabaseError:
            rows = 0
    assert rows == 0
