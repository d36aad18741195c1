"""Promise: with LOG_FORMAT=json every line of the log is one JSON object that says what it is of.

Servers and workers are started as people start them; their stderr is read to the last line.
"""

from __future__ import annotations

import io
import json
import logging
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

import logs
from config import Settings
from jobs import audit
from jobs.options import RunOptions
from jobs.service import Jobs
from jobs.views import JobState

ROOT = Path(__file__).parents[1]
ATTEMPT = {"job": "264", "run": 2, "span": 3, "attempt": 1, "fence": 7}


@pytest.fixture
def as_json(monkeypatch: pytest.MonkeyPatch) -> Iterator[io.StringIO]:
    """Logs as JSON in this process, to what is given; everything is as before in the end."""
    written = io.StringIO()
    monkeypatch.setattr("sys.stderr", written)
    root = logging.getLogger()
    before = root.handlers[:], root.level, sys.excepthook, threading.excepthook
    root.handlers.clear()
    logs.start("json")
    yield written
    logging.captureWarnings(capture=False)
    root.handlers[:], sys.excepthook, threading.excepthook = before[0], before[2], before[3]
    root.setLevel(before[1])


def lines(text: str) -> list[dict]:
    return [json.loads(line) for line in text.splitlines()]


def test_a_line_has_time_level_logger_message_and_its_own_fields(as_json: io.StringIO) -> None:
    logging.getLogger("relay.test").warning("two\nlines of %s", "it", extra={"actor": "anna"})
    [line] = lines(as_json.getvalue())
    at = datetime.fromisoformat(line.pop("time"))
    assert at.utcoffset() == timedelta(0)
    assert abs(datetime.now(UTC) - at) < timedelta(hours=1)
    assert line == {
        "level": "WARNING", "logger": "relay.test", "message": "two\nlines of it", "actor": "anna",
    }  # fmt: skip


def test_a_traceback_is_one_field(as_json: pytest.CaptureFixture[str]) -> None:
    try:
        raise ValueError("no such\nthing")
    except ValueError:
        logging.getLogger("relay.test").exception("It failed.")
    thread = threading.Thread(target=lambda: [][1], name="worker bee")
    thread.start()
    thread.join()
    first, second = lines(as_json.getvalue())
    assert first["message"] == "It failed."
    assert first["exception"].startswith("Traceback")
    assert first["exception"].endswith("ValueError: no such\nthing")
    assert "worker bee" in second["message"]
    assert second["exception"].endswith("IndexError: list index out of range")


def test_lines_of_an_attempt_say_so_in_its_threads_too_and_in_no_other(
    as_json: io.StringIO,
) -> None:
    log = logging.getLogger("relay.test")
    with logs.attempt(**ATTEMPT):
        log.info("in it")
        beside = threading.Thread(target=logs.carry(log.info), args=("beside it",))
        alone = threading.Thread(target=log.info, args=("alone",))
        for thread in (beside, alone):
            thread.start()
            thread.join()
        log.info("own", extra={"job": "7"})
    log.info("after")
    found = {line["message"]: line for line in lines(as_json.getvalue())}
    assert ATTEMPT.items() <= found["in it"].items()
    assert ATTEMPT.items() <= found["beside it"].items()
    assert found["own"]["job"] == "7"
    assert not ATTEMPT.keys() & found["alone"].keys()
    assert not ATTEMPT.keys() & found["after"].keys()


def test_audit_lines_say_who_did_what_to_which_job(as_json: io.StringIO, jobs: Jobs) -> None:
    as_json.truncate(as_json.seek(0))
    with audit.acting("anna"), jobs.database.write() as session:
        audit.record(session, "start", "264", "engine builtin")
    [line] = lines(as_json.getvalue())
    wanted = {"logger": "relay.audit", "actor": "anna", "action": "start", "job": "264"}
    assert wanted.items() <= line.items()


@contextmanager
def relay(settings: Settings, *verb: str, log: Path, **env: str) -> Iterator[None]:
    """A verb in a process of its own, told to stop in the end and waited for."""
    place = {
        "DATA_DIR": str(settings.data_dir),
        "DOWNLOADS_PATH": str(settings.downloads_path),
        "PORT": "0",
    }
    with log.open("wb") as errors:
        process = subprocess.Popen(
            [sys.executable, str(ROOT / "cli.py"), *verb],
            env={**os.environ, **place, **env},
            stdout=subprocess.DEVNULL,
            stderr=errors,
        )
        try:
            yield
            process.send_signal(signal.SIGTERM)
            assert process.wait(60) == 0
        finally:
            process.kill()
            process.wait()


@pytest.mark.parametrize("debug", ["false", "true"])
def test_every_line_of_a_worker_is_json_and_those_of_an_attempt_carry_it(
    jobs: Jobs, settings: Settings, export: Path, tmp_path: Path, debug: str
) -> None:
    with export.open("rb") as stream:
        jobs.receive("264.zip", stream)
    jobs.start_run("264", RunOptions(engine="flow"))
    log, pause = tmp_path / "log", threading.Event()
    with relay(settings, "worker", "--name", "w", log=log, LOG_FORMAT="json", DEBUG=debug):
        for _ in range(1200):
            if jobs.job("264").job.state not in (JobState.QUEUED, JobState.RUNNING):
                break
            pause.wait(0.05)
    assert jobs.job("264").job.state is JobState.COMPLETED
    written = lines(log.read_text())
    assert all({"time", "level", "logger", "message"} <= line.keys() for line in written)
    assert any(line["logger"].startswith("celery") for line in written)
    attempts = [line for line in written if line["message"].startswith("w: attempt")]
    spans = {(line["job"], line["run"], line["span"], line["attempt"]) for line in attempts}
    assert spans == {("264", 1, span.ordinal, 1) for span in jobs.job("264").runs[0].spans}
    assert all(line["fence"] >= 1 for line in attempts)


def test_every_line_of_a_server_is_json(settings: Settings, tmp_path: Path) -> None:
    log, pause = tmp_path / "log", threading.Event()
    with relay(settings, "serve", log=log, LOG_FORMAT="json"):
        for _ in range(1200):
            if "http://" in log.read_text():
                break
            pause.wait(0.05)
    written = lines(log.read_text())
    assert any(line["message"].startswith("Mask Relay: http://") for line in written)
    assert all({"time", "level", "logger", "message"} <= line.keys() for line in written)
