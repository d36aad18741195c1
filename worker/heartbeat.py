"""What keeps a lease alive while its span is computed, and tells when it is gone.

Two threads: one renews the lease every few seconds, the other looks at the end of every frame
whether the lease still is ours, so that a cancelled run ends with the frame at hand. Neither can
hold up the work: the frame waits a few milliseconds for the answer, and goes on without it where
the database is slow or away.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from types import TracebackType
from typing import Self

from sqlalchemy.orm import Session

import logs
from errors import one_line
from jobs import store_runs
from jobs.db import AWAY, Database
from jobs.queue import TICK_SECONDS
from worker import leases, live_leases
from worker.device import gpu_memory
from worker.leases import Lease
from worker.live_leases import StepLease
from worker.presence import Presence, Seat

LOOK_SECONDS = 0.01  # frames that follow each other faster share a look
ANSWER_SECONDS = 0.02  # how long a frame waits for the answer
_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class Identity:
    """Who a worker is. `device`: as asked for ("auto", "cpu", "cuda:0")."""

    name: str
    host: str
    device: str

    @property
    def names(self) -> tuple[str, str, str]:
        """Name, host and device."""
        return self.name, self.host, self.device


@dataclass(frozen=True, slots=True, kw_only=True)
class Pace:
    """Times in seconds: how long a lease lasts, between heartbeats, and between looks for work."""

    lease: float = leases.LEASE_SECONDS
    heartbeat: float = leases.HEARTBEAT_SECONDS
    tick: float = TICK_SECONDS


class Heartbeat:
    """Renews a lease for as long as the `with` block lasts."""

    def __init__(
        self,
        database: Database,
        identity: Identity,
        lease: Lease,
        pace: Pace,
        stop: threading.Event,
        *,
        seat: Seat | None = None,
        claim: Callable[[], StepLease | None] | None = None,
    ) -> None:
        """`seat`: where the worker does other spans beside; None: it does this one alone.

        `claim`: takes a request of a live session that waits and that nobody idle has taken; then
        the span ends with the frame at hand.
        """
        self._database = database
        self._me = identity
        self._seat = seat or Presence(*identity.names).seat()
        self._lease = lease
        self._pace = pace
        self._stop = stop
        self.frames_done = 0
        self._notices: list[str] = []  # may be told again: a run keeps each once
        self.database_was_away = False
        self.closing = False  # what became of the span is being written down, which ends the lease
        self.taken: StepLease | None = None  # for which the span is handed back
        self._claim = claim
        self._lost = False
        self._ended = threading.Event()
        self._looked = 0.0
        self._asked, self._answered = threading.Event(), threading.Event()
        self._threads = [
            threading.Thread(target=logs.carry(work), name=name, daemon=True)
            for work, name in ((self._renew, "heartbeat"), (self._look, "lookout"))
        ]

    def notice(self, sentence: str) -> None:
        """Take what people should know of the run; the next heartbeat tells it."""
        said = f"{self._me.name}: {sentence}"
        if said not in self._notices:
            self._notices.append(said)

    def tell(self, session: Session) -> None:
        """Write down what `notice` took, in a write transaction."""
        store_runs.tell(session, self._lease.run_id, tuple(self._notices))

    def progress(self, done: int, total: int) -> None:
        """Note how many frames are done; the next heartbeat reports it."""
        self.frames_done = done

    def should_stop(self) -> bool:
        """Whether the work should end at this frame. Asked from one thread only."""
        if self._has_to_end():
            return True
        now = time.monotonic()
        if now - self._looked >= LOOK_SECONDS:
            self._looked = now
            self._answered.clear()
            self._asked.set()
            self._answered.wait(ANSWER_SECONDS)
        return self._has_to_end()

    def _has_to_end(self) -> bool:
        return self._lost or self._stop.is_set() or self.taken is not None

    def _renew(self) -> None:
        while True:
            asked = time.monotonic()
            try:
                gpu = gpu_memory(self._me.device)  # not in the turn to write: it may hang
                with self._database.write() as session:
                    if time.monotonic() - asked > self._pace.lease / 2:
                        self.database_was_away = True  # for all who wait for their turn to write
                    held = leases.renew(session, self._lease, self.frames_done, self._pace.lease)
                    self.tell(session)
                    self._seat.report(session, doing=self._lease.doing, gpu=gpu)
            except AWAY as exc:
                # The work goes on: if the lease ends meanwhile, the fence decides.
                self.database_was_away = True
                _log.warning("No heartbeat: the database is away (%s).", one_line(str(exc.orig)))
            except Exception:  # noqa: BLE001 - the boundary: a heart that stops costs an attempt
                _log.exception("A heartbeat failed; the next one may not.")
            else:
                if not held:
                    self._lose()
                    return
            if self._ended.wait(self._pace.heartbeat):
                return

    def _look(self) -> None:
        while not self._lost:
            self._asked.wait()
            self._asked.clear()
            if self._ended.is_set():
                return
            try:
                with self._database.read() as session:
                    if not leases.is_held(session, self._lease):
                        self._lose()
                    waits = self._claim is not None and live_leases.somebody_waits(session)
                if waits and not self.closing and self.taken is None:
                    self.taken = self._claim() if self._claim is not None else None
            except AWAY:
                pass  # the heartbeat says so
            except Exception:  # noqa: BLE001 - the boundary: the heartbeat sees a lost lease too
                _log.exception("Whether the lease is held could not be read.")
            self._answered.set()

    def _lose(self) -> None:
        if not self._lost and not self.closing:
            _log.warning("%s: the lease is lost.", self._lease.doing)
        self._lost = True

    def __enter__(self) -> Self:
        try:
            for thread in self._threads:
                thread.start()
        except RuntimeError:  # no more threads: the one that runs must not renew for ever
            self._ended.set()
            raise
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._ended.set()
        self._asked.set()
        for thread in self._threads:
            thread.join()
        self._seat.rest()
