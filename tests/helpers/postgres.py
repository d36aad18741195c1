"""A PostgreSQL of a test's own, which it may stop, freeze and thaw."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psycopg
import pytest

_ROOT = os.geteuid() == 0
_AS = ["runuser", "-u", "postgres", "--"] if _ROOT else []  # it refuses to run as root


class OwnPostgres:
    """A running server; `url`: an address in it, over TCP."""

    def __init__(self, binaries: Path, folder: Path) -> None:
        self._binaries, self._folder = binaries, folder
        with socket.create_server(("127.0.0.1", 0)) as free:
            self.port = free.getsockname()[1]
        self.url = f"postgresql://postgres@127.0.0.1:{self.port}/postgres"
        self._run("initdb", "--auth=trust", "--no-sync", "--username=postgres", "--encoding=UTF8")
        self.start()

    def start(self) -> None:
        """Start it (again) and wait until it answers."""
        options = f"-p {self.port} -c listen_addresses=127.0.0.1 -k {self._folder} -c fsync=off"
        log = self._folder / "log"
        self._run("pg_ctl", "start", "--wait", f"--log={log}", f"--options={options}")

    def stop(self, mode: str = "immediate") -> None:
        """Stop it. `mode`: "fast", or "immediate", which is as if it were killed."""
        self._run("pg_ctl", "stop", "--wait", f"--mode={mode}")

    def freeze(self) -> None:
        """Let the server and all its sessions stand still; the system keeps their connections."""
        self._signal(signal.SIGSTOP)

    def thaw(self) -> None:
        """Let them go on."""
        self._signal(signal.SIGCONT)

    def connection_count(self) -> int:
        """How many clients are connected, this one left out."""
        with psycopg.connect(self.url) as connection:
            row = connection.execute(
                "SELECT count(*) - 1 FROM pg_stat_activity WHERE backend_type = 'client backend'"
            ).fetchone()
        assert row is not None
        return int(row[0])

    def _signal(self, number: signal.Signals) -> None:
        parent = (self._folder / "data/postmaster.pid").read_text().split()[0]
        # The first one first: it would replace sessions that seem to have died.
        listed = subprocess.run(["pgrep", "-P", parent], capture_output=True, text=True, check=True)
        for pid in (parent, *listed.stdout.split()):
            os.kill(int(pid), number)

    def _run(self, program: str, *arguments: str) -> None:
        data = f"--pgdata={self._folder / 'data'}"
        subprocess.run(
            [*_AS, str(self._binaries / program), data, *arguments],
            cwd="/",
            check=True,
            stdout=subprocess.DEVNULL,  # a pipe would be held open by the server
            stderr=subprocess.DEVNULL,
            timeout=120,
        )


@contextmanager
def own_postgres() -> Iterator[OwnPostgres]:
    """Run a server; skips the test where PostgreSQL's programs are not installed."""
    binaries = _binaries()
    if binaries is None or (_ROOT and shutil.which("runuser") is None):
        text = "PostgreSQL's programs (initdb, pg_ctl) are not installed here"
        if os.environ.get("REQUIRE_SERVICES") == "1":
            pytest.fail(text)
        pytest.skip(text)
    # Short, for the socket in it, and outside the test's folder, which only root may enter.
    folder = Path(tempfile.mkdtemp(prefix="relay-pg-", dir="/tmp"))
    if _ROOT:
        shutil.chown(folder, "postgres")
    server = None
    try:
        server = OwnPostgres(binaries, folder)
        yield server
    finally:
        if server is not None:
            server.thaw()
            server.stop()
        shutil.rmtree(folder)


def _binaries() -> Path | None:
    found = [Path(path).parent for path in [shutil.which("initdb")] if path]
    found += sorted(Path("/usr/lib/postgresql").glob("*/bin"), reverse=True)
    return next((folder for folder in found if (folder / "initdb").is_file()), None)
