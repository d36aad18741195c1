"""Promise: the real server does the same in every async mode, and ends cleanly when told to."""

from __future__ import annotations

import http.client
import json
import os
import re
import signal
import socket
import sqlite3
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

import pytest
import simple_websocket

from config import Settings
from errors import SettingsError
from jobs import broker
from jobs.db import open_database
from tests.web.kit import KEY_TEXT, MakeExport
from web.run import listen
from worker.heartbeat import Identity
from worker.loop import SpanLoop

ROOT = Path(__file__).parents[2]
MODES = ("threading", "eventlet", "gevent")
MIB = 1 << 20
NO_BROKER = "redis://127.0.0.1:9/0"  # nobody answers there: work is found without it
PROGRAM = """
import logging, sys
logging.basicConfig(level=logging.INFO, stream=sys.stderr)
import server
server.patch(sys.argv[1])
import config
server.serve(config.load(), sys.argv[1])
"""


@dataclass(frozen=True)
class Running:
    """A server in a process of its own."""

    process: subprocess.Popen[str]
    port: int
    data_dir: Path

    def ask(
        self, method: str, path: str, body: object = None, headers: dict[str, str] | None = None
    ) -> tuple[int, dict]:
        with closing(http.client.HTTPConnection("127.0.0.1", self.port, timeout=60)) as connection:
            chunked = "Transfer-Encoding" in (headers or {})
            connection.request(method, path, body, headers or {}, encode_chunked=chunked)
            answer = connection.getresponse()
            return answer.status, json.loads(answer.read() or b"{}")

    def files(self) -> list[Path]:
        return [
            path
            for folder in ("jobs", "incoming", "tmp")
            for path in (self.data_dir / folder).rglob("*")
            if path.is_file()
        ]


@contextmanager
def running(mode: str, tmp_path: Path, **more: str) -> Iterator[Running]:
    data_dir = tmp_path / "data"
    env = {
        **{name: value for name, value in os.environ.items() if name in ("PATH", "HOME", "LANG")},
        "DATA_DIR": str(data_dir),
        "PORT": "0",
        "PYTHONPATH": str(ROOT),
        **more,
    }
    process = subprocess.Popen(
        [sys.executable, "-W", "ignore", "-c", PROGRAM, mode],
        cwd=tmp_path, env=env, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    assert process.stderr is not None
    try:
        said = []
        for line in process.stderr:
            said.append(line)
            if found := re.search(r"Mask Relay: http://\S+:(\d+)", line):
                yield Running(process, int(found[1]), data_dir)
                break
        else:
            pytest.fail("the server did not start:\n" + "".join(said))
    finally:
        process.kill()
        process.communicate()
        broker.stop(Settings(data_dir=data_dir))


@contextmanager
def listening(
    server: Running, query: str = "", **headers: str
) -> Iterator[simple_websocket.Client]:
    """Speak Socket.IO over a WebSocket, as its protocol says: 0 open, 40 connect, 42 event."""
    client = simple_websocket.Client(
        f"ws://127.0.0.1:{server.port}/socket.io/?EIO=4&transport=websocket{query}",
        headers=headers,
    )
    # Asked before the greeting is read: this client sees what came together with the handshake
    # only when something more arrives.
    client.send("40")
    assert client.receive(timeout=30).startswith("0{")
    try:
        yield client
    finally:
        client.close()


@pytest.fixture(scope="module", params=MODES)
def server(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Running]:
    """One server per async mode, with everything beside it, for tests that do not end it."""
    with running(request.param, tmp_path_factory.mktemp(request.param)) as started:
        yield started


@pytest.mark.parametrize("mode", MODES)
def test_uploads_events_runs_and_a_clean_end(
    mode: str, tmp_path: Path, make_export: MakeExport
) -> None:
    with running(mode, tmp_path, BROKER_URL=NO_BROKER) as server:
        status, health = server.ask("GET", "/readyz")
        assert (status, health["ready"], health["status"]) == (200, True, "degraded")
        assert "broker" in health["reason"]
        with listening(server) as listener:
            assert listener.receive(timeout=30).startswith("40{")
            listener.send('420["watch",{}]')
            assert listener.receive(timeout=30) == "430[{}]"
            status, job = server.ask("POST", "/api/jobs?name=264.zip", make_export())
            assert (status, job["state"]) == (201, "ready")
            assert listener.receive(timeout=30) == '42["job",{"id":"264"}]'

        data = make_export()
        pieces = iter([data[:1000], data[1000:]])
        chunked = {"Transfer-Encoding": "chunked"}
        assert server.ask("POST", "/api/jobs?name=chunked.zip", pieces, chunked)[0] == 201
        run = server.ask("POST", "/api/jobs/264/runs")
        assert (run[0], run[1]["state"]) == (201, "queued")
        assert server.ask("POST", "/api/jobs?name=264.zip", b"no archive")[0] == 400
        assert server.ask("GET", "/api/jobs/none")[0] == 404

        server.process.send_signal(signal.SIGTERM)
        _, said = server.process.communicate(timeout=60)
        assert server.process.returncode == 0
        assert "Traceback" not in said


def test_the_broker_is_started_with_the_server(server: Running) -> None:
    assert server.ask("GET", "/api/status")[1]["broker"] == "ok"


def test_a_large_upload_needs_little_memory_and_leaves_nothing_when_refused(
    server: Running,
) -> None:
    size, block = 256 * MIB, bytes(MIB)
    before, files = peak(server), server.files()
    for headers in ({"Content-Length": str(size)}, {"Transfer-Encoding": "chunked"}):
        blocks = (block for _ in range(size // MIB))
        status, answer = server.ask("POST", "/api/jobs?name=big.zip", blocks, headers)
        assert (status, list(answer)) == (400, ["error"])
    assert peak(server) - before < 64 * MIB
    assert server.files() == files


@pytest.mark.parametrize("head", ["Content-Length: 100000", "Transfer-Encoding: chunked"])
def test_an_upload_that_breaks_off_leaves_nothing(
    server: Running, head: str, make_export: MakeExport
) -> None:
    data, files = make_export(), server.files()
    with socket.create_connection(("127.0.0.1", server.port)) as connection:
        request = f"POST /api/jobs?name=half.zip HTTP/1.1\r\nHost: localhost\r\n{head}\r\n\r\n"
        body = b"%x\r\n%s\r\n" % (len(data), data) if "chunked" in head else data
        connection.sendall(request.encode() + body)
        connection.shutdown(socket.SHUT_WR)
        connection.recv(65536)  # whatever it answers, it has given up by then
    assert server.ask("GET", "/api/jobs/half")[0] == 404
    assert server.files() == files


def test_a_database_that_makes_one_wait_holds_up_nobody_else(
    server: Running, make_export: MakeExport
) -> None:
    assert server.ask("POST", "/api/jobs?name=waits.zip", make_export())[0] == 201
    answers: list[int] = []
    with closing(sqlite3.connect(server.data_dir / "relay.db", isolation_level=None)) as database:
        database.execute("BEGIN IMMEDIATE")
        writer = threading.Thread(
            target=lambda: answers.append(server.ask("POST", "/api/jobs/waits/runs")[0])
        )
        writer.start()
        for _ in range(5):
            assert server.ask("GET", "/healthz")[0] == 200
        assert answers == []
        database.execute("ROLLBACK")
    writer.join()
    assert answers == [201]


def test_downloads_that_have_to_be_made_hold_up_nobody_else(
    server: Running, make_export: MakeExport
) -> None:
    assert server.ask("POST", "/api/jobs?name=forms.zip", make_export())[0] == 201
    flow = json.dumps({"engine": "flow"}), {"Content-Type": "application/json"}
    assert server.ask("POST", "/api/jobs/forms/runs", *flow)[0] == 201
    settings = Settings(data_dir=server.data_dir, engine="flow")
    database = open_database(settings)
    loop = SpanLoop(settings, database, Identity(name="w", host="here", device="cpu"))
    while loop.step():
        pass
    database.close()
    files, sizes = server.files(), []

    def fetch() -> None:
        with closing(http.client.HTTPConnection("127.0.0.1", server.port, timeout=60)) as client:
            client.request("GET", "/api/jobs/forms/download?format=polygons")
            answer = client.getresponse()
            assert answer.status == 200
            assert "polygons" in answer.headers["Relay-Notes"]
            sizes.append(len(answer.read()) - int(answer.headers["Content-Length"]))

    fetching = [threading.Thread(target=fetch) for _ in range(4)]
    for thread in fetching:
        thread.start()
    for _ in range(5):
        assert server.ask("GET", "/api/jobs")[0] == 200
    for thread in fetching:
        thread.join()
    assert sizes == [0, 0, 0, 0]
    assert server.files() == files


@pytest.mark.parametrize("mode", MODES)
def test_with_a_key_strangers_are_refused_over_every_path(mode: str, tmp_path: Path) -> None:
    with running(mode, tmp_path, AGENT_KEY=KEY_TEXT, BROKER_URL=NO_BROKER) as server:
        bearer = {"Authorization": f"Bearer {KEY_TEXT}"}
        assert server.ask("GET", "/api/jobs")[0] == 401
        assert server.ask("GET", "/api/jobs", headers=bearer)[0] == 200
        with listening(server) as stranger:
            assert stranger.receive(timeout=30).startswith("44")
        with listening(server, **bearer) as friend:
            assert friend.receive(timeout=30).startswith("40{")


def test_a_taken_port_is_named(settings: Settings) -> None:
    with listen(replace(settings, port=0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(SettingsError, match=f"PORT={port}"):
            listen(replace(settings, port=port))


def test_a_host_that_is_not_ours_is_named(settings: Settings) -> None:
    with pytest.raises(SettingsError, match=r"HOST=host\.invalid"):
        listen(replace(settings, host="host.invalid"))


def peak(server: Running) -> int:
    """The most memory that the server's process ever held, in bytes; 0 where nobody counts it."""
    status = Path(f"/proc/{server.process.pid}/status")
    if not status.is_file():
        return 0
    found = re.search(r"VmHWM:\s+(\d+) kB", status.read_text())
    return int(found[1]) * 1024 if found else 0
