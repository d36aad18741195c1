"""Processes that are started to be killed: they, their children, and signals to all of them."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

LOOK_SECONDS = 0.05


class Program:
    """One process in a session of its own, so that no signal meant for it reaches the caller.

    It may be started again after its end; `log` gets what it writes. `user`: whose it is to be
    (None: ours).
    """

    def __init__(
        self,
        command: Sequence[str],
        *,
        log: Path,
        env: Mapping[str, str] | None = None,
        user: str | None = None,
        cwd: Path | None = None,
    ) -> None:
        self.command = list(command)
        self._log = log
        self._env = dict(env) if env is not None else None
        self._user = user
        self._cwd = cwd
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def pid(self) -> int:
        """Its number. Raises RuntimeError before the first start."""
        if self._process is None:
            raise RuntimeError(f"{self.command[0]} was not started")
        return self._process.pid

    @property
    def running(self) -> bool:
        """Whether it was started and has not ended."""
        return self._process is not None and self._process.poll() is None

    def start(self) -> None:
        """Start it unless it runs."""
        if self.running:
            return
        with self._log.open("ab") as log:
            self._process = subprocess.Popen(
                self.command,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                env=self._env,
                start_new_session=True,
                cwd=self._cwd,
                user=self._user,
                group=self._user,
                extra_groups=None if self._user is None else (),
            )

    def send(self, number: signal.Signals) -> None:
        """Send a signal to it and to all that came of it."""
        for pid in (*descendants(self.pid), self.pid):
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, number)

    def kill(self) -> None:
        """End it at once (kill -9) with all that came of it, and wait until they are gone."""
        if self._process is None:
            return
        # Stopped first: what is stopped can start no child that would be overlooked.
        self.send(signal.SIGSTOP)
        pids = descendants(self.pid)
        self.send(signal.SIGKILL)
        self._process.wait()
        wait_for(lambda: not any(map(_alive, pids)), f"the end of {self.command}")

    def end(self, seconds: float = 60.0) -> int:
        """Ask it to end (SIGTERM) and return its exit code."""
        assert self._process is not None
        self._process.terminate()
        return self._process.wait(seconds)


def descendants(pid: int) -> list[int]:
    """All processes that came of one, it itself not among them. Those of a new session too."""
    children: dict[int, list[int]] = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            with contextlib.suppress(OSError, IndexError, ValueError):
                # "pid (name) state parent ...", and a name may hold blanks and brackets.
                parent = int((entry / "stat").read_text().rpartition(")")[2].split()[1])
                children.setdefault(parent, []).append(int(entry.name))
    found: list[int] = []
    ahead = [pid]
    while ahead:
        ahead = [child for parent in ahead for child in children.get(parent, ())]
        found += ahead
    return found


def command_line(pid: int) -> str:
    """How a process was started; empty when it is gone."""
    try:
        return Path(f"/proc/{pid}/cmdline").read_text().replace("\0", " ").strip()
    except OSError:
        return ""


def wait_for(
    condition: Callable[[], bool],
    what: str,
    seconds: float = 60.0,
    *,
    every: float = LOOK_SECONDS,
) -> None:
    """Wait until something is so. Raises TimeoutError that names `what`.

    `every`: seconds between two looks; a look costs what `condition` does.
    """
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            raise TimeoutError(f"waited {seconds:.0f} s for {what}")
        time.sleep(every)


def free_port() -> int:
    """A TCP port that nobody listens on now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def listens(port: int) -> bool:
    """Whether somebody listens on a port of this machine."""
    try:
        socket.create_connection(("127.0.0.1", port), 1).close()
    except OSError:
        return False
    return True


def _alive(pid: int) -> bool:
    """Whether a process lives; one that ended and was not waited for does not."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False
