"""The three ways of serving many clients at once, and how blocking work stays off an event loop.

Threads are the default. Under eventlet and gevent one thread serves everybody, so whatever may wait
for the database or for a disk (every call of `jobs.service.Jobs`) runs in a pool of real threads.
Only sockets and `time.sleep` are patched therefore: real threads need real locks, queues and polls.

This module imports nothing heavy: `patch` has to run before the modules that it patches are used.
"""

from __future__ import annotations

import io
import os
import select
import socket
import threading
from collections.abc import Callable, Mapping
from contextlib import suppress
from contextvars import copy_context
from dataclasses import dataclass
from enum import StrEnum
from typing import IO, Any, BinaryIO, Protocol, TypeVar, cast

from errors import SettingsError

T = TypeVar("T")
CHUNK = 1 << 18  # bytes moved at once from a request to the disk


class AsyncMode(StrEnum):
    """How the server waits for many clients."""

    THREADING = "threading"
    EVENTLET = "eventlet"
    GEVENT = "gevent"

    @classmethod
    def named(cls, name: str) -> AsyncMode:
        """Find a mode by name; raises SettingsError that lists the modes."""
        try:
            return cls(name)
        except ValueError:
            known = ", ".join(cls)
            raise SettingsError(
                f"The async mode {name!r} is unknown: use one of {known}."
            ) from None


def patch(async_mode: str) -> None:
    """Make the standard library wait in the way of `async_mode`; call it before other imports.

    Raises SettingsError for an unknown mode and where its package is not installed.
    """
    mode = AsyncMode.named(async_mode)
    try:
        if mode is AsyncMode.EVENTLET:
            import eventlet

            eventlet.monkey_patch(socket=True, time=True)
        elif mode is AsyncMode.GEVENT:
            from gevent import monkey

            monkey.patch_socket()
            monkey.patch_ssl()
            monkey.patch_time()
    except ImportError as exc:
        raise SettingsError(
            f"The async mode {mode} needs a package that is not installed: "
            f"run `pip install 'mask-relay[{mode}]'` or use threading."
        ) from exc


def has_left(environ: Mapping[str, Any]) -> bool:
    """Whether the client of a request has closed its connection; False where nothing tells it.

    `environ`: of one of the servers that belong to the modes. What is on its way stays there.
    """
    if "werkzeug.socket" in environ:
        connection = environ["werkzeug.socket"]
    elif "eventlet.input" in environ:
        connection = environ["eventlet.input"].get_socket()
    else:  # gevent's input reads from such a file; what tests send in is none
        connection = getattr(environ["wsgi.input"], "rfile", None)
    if connection is None or not hasattr(select, "POLLRDHUP"):  # of Linux
        return False
    look = select.poll()
    look.register(connection.fileno(), select.POLLRDHUP)
    return bool(look.poll(0))


class Source(Protocol):
    """What a body is read from."""

    def read(self, size: int = -1, /) -> bytes:
        """Return up to `size` bytes, none at the end."""


class Offload:
    """Runs blocking calls where they hold up nobody else. `mode`: how the server waits."""

    def __init__(self, mode: AsyncMode) -> None:
        self.mode = mode

    def call(self, function: Callable[..., T], /, *args: Any, **kwargs: Any) -> T:
        """Return `function(*args, **kwargs)`, or raise what it raises."""
        if self.mode is AsyncMode.THREADING:
            return function(*args, **kwargs)
        here = copy_context()  # a thread of the pool knows neither who acts nor what is logged
        if self.mode is AsyncMode.EVENTLET:
            from eventlet import tpool

            return cast(T, tpool.execute(here.run, function, *args, **kwargs))
        import gevent

        # The outcome is carried as a value: gevent prints what is raised in its threads.
        outcome = gevent.get_hub().threadpool.apply(here.run, (_outcome, function, args, kwargs))
        if isinstance(outcome, _Raised):
            raise outcome.error
        return cast(T, outcome)

    def consume(self, stream: Source, function: Callable[[BinaryIO], T]) -> T:
        """Return `function(stream)`, where `stream` is read from a client's connection.

        A green connection can only be read by the thread that serves it, so that under eventlet and
        gevent the bytes go through a socket pair to the real thread that runs `function`. An error
        while reading the stream is raised in `function`'s `read` too.
        """
        if self.mode is AsyncMode.THREADING:
            return function(cast(BinaryIO, stream))
        near, far = socket.socketpair()
        pipe = _Pipe(far)

        def pump() -> None:
            try:
                while chunk := stream.read(CHUNK):
                    near.sendall(chunk)
            except Exception as exc:  # noqa: BLE001 - handed to the reading thread, which raises it
                pipe.fail(exc)
            finally:
                near.close()

        stop_pumping = self._spawn(pump)
        try:
            return self.call(function, cast(BinaryIO, pipe))
        finally:
            pipe.close()
            stop_pumping()

    def _spawn(self, function: Callable[[], None]) -> Callable[[], object]:
        """Start `function` beside the caller; the returned call ends it where it still runs."""
        if self.mode is AsyncMode.EVENTLET:
            import eventlet

            return cast(Callable[[], object], eventlet.spawn(function).kill)
        import gevent

        return cast(Callable[[], object], gevent.spawn(function).kill)


@dataclass(frozen=True, slots=True)
class _Raised:
    """An exception on its way from one thread to another."""

    error: Exception


def _outcome(function: Callable[..., T], args: Any, kwargs: Any) -> T | _Raised:
    try:
        return function(*args, **kwargs)
    except Exception as exc:  # noqa: BLE001 - raised again by the caller's thread
        return _Raised(exc)


class _Pipe(io.RawIOBase):
    """The reading end of a socket pair for a real thread: waits in the kernel, not in a hub."""

    def __init__(self, far: socket.socket) -> None:
        self._error: BaseException | None = None
        self._lock = threading.Lock()
        descriptor = far.detach()
        os.set_blocking(descriptor, True)
        self._raw: IO[bytes] = open(descriptor, "rb", buffering=CHUNK)  # noqa: SIM115, PTH123

    def fail(self, error: BaseException) -> None:
        with self._lock:
            self._error = error

    def readable(self) -> bool:
        return True

    def read(self, size: int = -1, /) -> bytes:
        data = self._raw.read(size)
        with self._lock:
            if self._error is not None:
                raise self._error
        return data

    def close(self) -> None:
        with suppress(OSError):
            self._raw.close()
        super().close()
