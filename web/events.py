"""Live events over Socket.IO. They are hints: who hears one reads the API again.

A client says what it wants to hear of: `watch` {"job": "264"} one job, `watch` {} all of them (the
board). `job` {"id": ...}: this job changed. `workers` {"online": n}, to everybody: workers came,
left or took new work. `session` {"job": id, "version": n}: the job's live session changed, to who
watches that job. The server finds changes by reading the database once a second, so that no second
path from the workers to the web host is needed.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable

from flask import request
from flask_socketio import ConnectionRefusedError, SocketIO, join_room, rooms
from werkzeug.exceptions import HTTPException

from jobs.tokens import Holder
from jobs.views import WorkerView
from web import auth
from web.context import Context
from web.green import AsyncMode
from web.text import is_plain

log = logging.getLogger(__name__)
PERIOD = 1.0  # seconds between two looks into the database
LATELY = 10.0  # seconds within which a change of a session is told of
MOST_ROOMS = 50  # that one connection may be in
_LONGEST_ID = 80  # characters
_BOARD = "board"
_WHO = "mask_relay.who"  # where a connection's environment keeps who opened it


def install(socketio: SocketIO) -> None:
    """Let only those listen who may also read the API, and only to what they ask for."""

    def connect(given: object = None) -> None:
        gate = auth.gate()
        try:
            auth.require_host(request)
            key = given.get("key") if isinstance(given, dict) else None
            if isinstance(key, str) and gate.needs_key():
                who = gate.by_key(key, request.remote_addr or "")
            else:
                who = gate.by_request(request)
        except HTTPException as error:
            raise ConnectionRefusedError(str(error.description)) from error
        if who is None:
            raise ConnectionRefusedError("Sign in first, or connect with {'key': KEY}.")
        request.environ[_WHO] = gate, who

    def watch(wanted: object = None) -> dict[str, str]:
        """Answer {} where it is done, else {"error": why not}."""
        job_id = wanted.get("job") if isinstance(wanted, dict) else None
        if job_id is None:
            join_room(_BOARD)
            return {}
        if not isinstance(job_id, str) or len(job_id) > _LONGEST_ID or not is_plain(job_id):
            return {"error": "This is no job's id: watch {'job': '264'}, or {} for all jobs."}
        room = _room(job_id)
        if room not in (inside := rooms()) and len(inside) > MOST_ROOMS:  # its own is one too many
            return {"error": f"One connection follows {MOST_ROOMS} jobs at most: watch {{}}."}
        join_room(room)
        return {}

    socketio.on_event("connect", connect)
    socketio.on_event("watch", watch)


class Watch:
    """Turns changes in the database into events, until it is stopped."""

    def __init__(self, socketio: SocketIO, context: Context) -> None:
        self._socketio = socketio
        self._context = context
        self._stopped = threading.Event()
        self._cursor = 0
        self._workers: frozenset[tuple[str, str]] = frozenset()
        self._sessions: dict[str, int] = {}  # versions of those that changed lately

    def start(self) -> None:
        """Look once now, so that only later changes are told, and go on in the background."""
        self._cursor, _ = self._context.call(self._context.jobs.changes, 0)
        self._workers = _gist(self._context.call(self._context.jobs.workers))
        self._socketio.start_background_task(self._run)

    def stop(self) -> None:
        """End after the present look."""
        self._stopped.set()

    def look(self) -> None:
        """Tell what changed since the last look, to those who may still hear it."""
        self._part()
        self._cursor, changed = self._context.call(self._context.jobs.changes, self._cursor)
        for job_id in changed:
            self._socketio.emit("job", {"id": job_id}, to=[_room(job_id), _BOARD])
        sessions = self._context.call(self._context.jobs.sessions.lately, LATELY)
        for job_id, version in sessions.items():
            if self._sessions.get(job_id) != version:
                told = {"job": job_id, "version": version}
                self._socketio.emit("session", told, to=_room(job_id))
        self._sessions = sessions
        workers = _gist(self._context.call(self._context.jobs.workers))
        if workers != self._workers:
            self._workers = workers
            self._socketio.emit("workers", {"online": len(workers)})

    def _part(self) -> None:
        """Close the connections of those whose token was revoked since they opened them."""
        server = self._socketio.server
        stays: dict[Holder, bool] = {}
        for sid, _ in list(server.manager.get_participants("/", None)):
            found = (server.get_environ(sid) or {}).get(_WHO)
            if found is None:  # is just coming or going
                continue
            gate, who = found
            if who not in stays:
                stays[who] = gate.may_stay(who)
            if not stays[who]:
                server.disconnect(sid)

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


def _room(job_id: str) -> str:
    return f"job:{job_id}"
