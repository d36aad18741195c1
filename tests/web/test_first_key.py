"""Promise: where others could come in there is a key, made once and shown once."""

from __future__ import annotations

import http.client
import os
import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

import pytest
from flask import Flask

from config import Settings
from errors import SettingsError
from jobs import broker, keyfile
from jobs.views import Role
from tests.web.kit import KEY_TEXT
from tests.web.test_serving import NO_BROKER, ROOT
from web.auth import require_safe_binding
from web.context import KEY

BEARER = {"Authorization": f"Bearer {KEY_TEXT}"}
COOKIE = "mask_relay_session"
OWN = {"Origin": "http://localhost"}

MakeApp = Callable[[Settings], Flask]


@dataclass
class Started:
    """A server that `relay serve` started, and what it said until it was ready."""

    process: subprocess.Popen[str]
    said: list[str]
    port: int = 0

    def wait(self) -> None:
        assert self.process.stderr is not None
        for line in self.process.stderr:
            self.said.append(line.rstrip("\n"))
            if found := re.search(r"Mask Relay: http://\S+:(\d+)", line):
                self.port = int(found[1])
                return
        pytest.fail("the server did not start:\n" + "\n".join(self.said))

    def shown(self) -> list[str]:
        """The keys that it showed."""
        return [found[1] for line in self.said if (found := re.match(r"The key .*: (\S+)$", line))]

    def end(self) -> list[str]:
        """End it in good order, and return all that it ever said."""
        self.process.terminate()
        assert self.process.stderr is not None
        self.said.extend(self.process.stderr.read().splitlines())
        assert self.process.wait(timeout=60) == 0
        return self.said

    def status(self, key: str) -> int:
        with closing(http.client.HTTPConnection("127.0.0.1", self.port, timeout=60)) as connection:
            headers = {"Authorization": f"Bearer {key}", "Host": "relay.example"}
            connection.request("GET", "/api/jobs", headers=headers)
            return connection.getresponse().status


@pytest.fixture
def serve(tmp_path: Path) -> Iterator[Callable[..., Started]]:
    """Begins to start servers as a person would; they end with the test."""
    with ExitStack() as stack:
        stack.callback(broker.stop, Settings(data_dir=tmp_path / "data"))

        def start(**more: str) -> Started:
            return stack.enter_context(_serving(tmp_path, more))

        yield start


@contextmanager
def _serving(tmp_path: Path, more: dict[str, str]) -> Iterator[Started]:
    env = {
        "PATH": os.environ["PATH"],
        "DATA_DIR": str(tmp_path / "data"),
        "PYTHONPATH": str(ROOT),
        "BROKER_URL": NO_BROKER,
        **more,
    }
    process = subprocess.Popen(
        [sys.executable, "-W", "ignore", "-m", "cli", "serve", "--port", "0"],
        cwd=tmp_path, env=env, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    try:
        yield Started(process, [])
    finally:
        process.kill()
        process.wait()
        if process.stderr is not None:
            process.stderr.close()


def test_the_first_start_in_the_open_makes_a_key_and_shows_it_once(
    serve: Callable[..., Started], tmp_path: Path
) -> None:
    first = serve(HOST="0.0.0.0", LOG_FORMAT="json")
    first.wait()
    path = tmp_path / "data" / keyfile.AGENT_KEY
    key = path.read_text().strip()
    assert first.shown() == [key]
    assert path.stat().st_mode & 0o777 == 0o600
    assert first.status(key) == 200
    assert first.status(key[:-1]) == 401
    assert sum(key in line for line in first.end()) == 1

    second = serve(HOST="0.0.0.0")
    second.wait()
    assert second.status(key) == 200
    assert not any(key in line for line in second.end())

    here = serve()  # on loopback the key counts too
    here.wait()
    assert here.status(key) == 200
    assert here.status("") == 401


def test_two_that_start_at_once_agree_on_one_key(serve: Callable[..., Started]) -> None:
    servers = [serve(HOST="0.0.0.0") for _ in range(2)]
    for server in servers:
        server.wait()
    keys = [key for server in servers for key in server.shown()]
    assert len(keys) == 1
    assert [server.status(keys[0]) for server in servers] == [200, 200]


def test_on_loopback_no_key_is_made(settings: Settings) -> None:
    assert require_safe_binding(settings) == settings
    assert not (settings.data_dir / keyfile.AGENT_KEY).exists()


@pytest.mark.parametrize(
    "exposed", [{"host": "0.0.0.0"}, {"host": ""}, {"host": "::"}, {"trusted_proxies": 1}]
)
def test_where_others_could_come_in_a_key_is_made(
    settings: Settings, exposed: dict[str, object], capsys: pytest.CaptureFixture[str]
) -> None:
    made = require_safe_binding(replace(settings, **exposed)).agent_key
    assert len(made) >= 43
    said = capsys.readouterr()
    assert said.out == ""
    assert said.err.count("\n") == 1
    assert made in said.err
    assert require_safe_binding(replace(settings, **exposed)).agent_key == made
    assert capsys.readouterr().err == ""


def test_a_key_or_a_token_that_is_there_is_enough(
    settings: Settings, make_app: MakeApp, capsys: pytest.CaptureFixture[str]
) -> None:
    make_app(settings).extensions[KEY].jobs.tokens.add("anna", Role.ADMIN)
    exposed = replace(settings, host="0.0.0.0")
    assert require_safe_binding(exposed).agent_key == ""
    assert require_safe_binding(replace(exposed, agent_key=KEY_TEXT)).agent_key == KEY_TEXT
    assert not (settings.data_dir / keyfile.AGENT_KEY).exists()
    assert capsys.readouterr().err == ""


def test_where_the_last_token_is_revoked_the_open_server_stays_closed(
    settings: Settings, make_app: MakeApp
) -> None:
    app = make_app(replace(settings, host="0.0.0.0"))
    app.extensions[KEY].jobs.tokens.add("anna", Role.ADMIN)
    app.extensions[KEY].jobs.tokens.revoke("anna")
    assert app.test_client().get("/api/jobs").status_code == 401


def test_a_careless_key_file_is_refused_on_loopback_too(
    settings: Settings, make_app: MakeApp
) -> None:
    path = settings.data_dir / keyfile.AGENT_KEY
    keyfile.ensure(path)
    path.chmod(0o644)
    with pytest.raises(SettingsError, match=r"agent\.key may be read by others"):
        make_app(settings)


def test_agent_key_in_the_environment_wins_over_the_file(
    settings: Settings, make_app: MakeApp
) -> None:
    in_file, _ = keyfile.ensure(settings.data_dir / keyfile.AGENT_KEY)
    client = make_app(replace(settings, agent_key=KEY_TEXT)).test_client()
    assert client.get("/api/jobs", headers=BEARER).status_code == 200
    other = {"Authorization": f"Bearer {in_file}"}
    assert client.get("/api/jobs", headers=other).status_code == 401
