"""Live events over Socket.IO. They are hints: who hears one reads the API again.

`job` {"id": ...}: this job changed. `workers` {"online": n}: workers came, left or took new work.
The server finds changes by reading the database once a second, so that no second path from the
workers to the web host is needed.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable

from flask import request
from flask_socketio import ConnectionRefusedError, SocketIO
from werkzeug.exceptions import HTTPException

from config import Settings
from jobs.views import WorkerView
from web import auth
from web.context import Context
from web.green import AsyncMode

log = logging.getLogger(__name__)
PERIOD = 1.0  # seconds between two looks into the database


def install(socketio: SocketIO, settings: Settings) -> None:
    """Let only those listen who may also read the API."""

    def connect(given: object = None) -> None:
        try:
            auth.require_host(settings, request)
        except HTTPException as error:
            raise ConnectionRefusedError(str(error.description)) from error
        key = given.get("key") if isinstance(given, dict) else None
        if isinstance(key, str) and settings.agent_key and auth.is_key(settings, key):
            return
        if not auth.is_signed_in(settings, request):
            raise ConnectionRefusedError("Sign in first, or connect with {'key': AGENT_KEY}.")

    socketio.on_event("connect", connect)


class Watch:
    """Turns changes in the database into events, until it is stopped."""

    def __init__(self, socketio: SocketIO, context: Context) -> None:
        self._socketio = socketio
        self._context = context
        self._stopped = threading.Event()
        self._cursor = 0
        self._workers: frozenset[tuple[str, str]] = frozenset()

    def start(self) -> None:
        """Look once now, so that only later changes are told, and go on in the background."""
        self._cursor, _ = self._context.call(self._context.jobs.changes, 0)
        self._workers = _gist(self._context.call(self._context.jobs.workers))
        self._socketio.start_background_task(self._run)

    def stop(self) -> None:
        """End after the present look."""
        self._stopped.set()

    def look(self) -> None:
        """Tell what changed since the last look."""
        self._cursor, changed = self._context.call(self._context.jobs.changes, self._cursor)
        for job_id in changed:
            self._socketio.emit("job", {"id": job_id})
        workers = _gist(self._context.call(self._context.jobs.workers))
        if workers != self._workers:
            self._workers = workers
            self._socketio.emit("workers", {"online": len(workers)})

    def _run(self) -> None:
        failing = False
        while not self._stopped.is_set():
            try:
                self.look()
                failing = False
            except Exception:
                # The database may be away for a while; events go on when it is back.
                if not failing:
                    log.exception("Live events are paused: the database could not be read.")
                failing = True
            self._pause()

    def _pause(self) -> None:
        wait: Callable[[float], object] = (
            self._stopped.wait
            if self._context.offload.mode is AsyncMode.THREADING
            else self._socketio.sleep  # lets others run, which a real lock would not
        )
        wait(PERIOD)


def _gist(workers: tuple[WorkerView, ...]) -> frozenset[tuple[str, str]]:
    """Return what a page shows of workers, without the time that always moves."""
    return frozenset((worker.name, worker.doing) for worker in workers)
