"""Promise: a download that nobody waits for any more is not made, whatever the async mode."""

from __future__ import annotations

import os
import signal
import socket
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from config import Settings
from jobs.db import open_database
from tests.web.kit import MakeExport
from tests.web.test_serving import MODES, NO_BROKER, Running, running
from worker.heartbeat import Identity
from worker.loop import SpanLoop

PATH = "/api/jobs/264/download?format=polygons"
_PATIENCE = 60.0  # seconds until a test fails


def children(server: Running) -> set[int]:
    """The processes that export for a server."""
    found = set()
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            parent = int(stat.read_text().rpartition(")")[2].split()[1])
            arguments = (stat.parent / "cmdline").read_bytes().split(b"\0")
        except OSError:  # it has ended
            continue
        if parent == server.process.pid and b"export" in arguments:
            found.add(int(stat.parent.name))
    return found


def ask(server: Running) -> socket.socket:
    """Ask for the download, without waiting for the answer."""
    connection = socket.create_connection(("127.0.0.1", server.port))
    connection.sendall(f"GET {PATH} HTTP/1.1\r\nHost: localhost\r\n\r\n".encode())
    return connection


def until(wanted: Callable[[], object], what: str) -> None:
    end = time.monotonic() + _PATIENCE
    while not wanted():
        assert time.monotonic() < end, what
        time.sleep(0.05)


@pytest.fixture(params=MODES)
def server(
    request: pytest.FixtureRequest, tmp_path: Path, make_export: MakeExport
) -> Iterator[Running]:
    """A server that has a result of job 264."""
    with running(request.param, tmp_path, BROKER_URL=NO_BROKER) as started:
        assert started.ask("POST", "/api/jobs?name=264.zip", make_export())[0] == 201
        options = '{"engine": "flow"}'
        json = {"Content-Type": "application/json"}
        assert started.ask("POST", "/api/jobs/264/runs", options, json)[0] == 201
        settings = Settings(data_dir=started.data_dir)
        database = open_database(settings)
        loop = SpanLoop(settings, database, Identity(name="w", host="here", device="cpu"))
        while loop.step():
            pass
        database.close()
        yield started


@pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="looks at processes as Linux does")
def test_who_goes_away_gives_the_place_back_unless_another_one_waits_too(server: Running) -> None:
    with ask(server) as first:
        until(lambda: children(server), "nothing is made")
        (child,) = children(server)
        os.kill(child, signal.SIGSTOP)  # so that it is not done before it is no longer wanted
        with ask(server) as second:
            time.sleep(0.3)  # it shares what is being made
            assert children(server) == {child}
            first.close()
            time.sleep(0.3)  # more than one look at who has gone
            assert children(server) == {child}
            second.close()
            until(lambda: not children(server), "it is made for nobody")
    # No place is taken for ever.
    for _ in range(3):
        with ask(server) as again:
            assert again.recv(12) == b"HTTP/1.1 200"
