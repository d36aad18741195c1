"""What a worker does all day: claim a span, work on it, record it, again; else wait to be woken.

While it works, a heartbeat in a thread of its own renews the lease and reports progress. When the
lease is lost (cancelled, or given up as dead) or the worker is asked to stop, the work ends at the
next frame; what was computed stays in the span's file for whoever goes on.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from sqlalchemy.orm import Session

import logs
from config import Settings
from errors import InputError, one_line
from jobs.db import AWAY, Database
from worker import leases
from worker.heartbeat import Heartbeat, Identity, Pace
from worker.hindrance import FAULTS, Hindrance
from worker.leases import Lease
from worker.live import Live
from worker.live_leases import StepLease
from worker.presence import Presence, Seat
from worker.ready import Readiness
from worker.span_work import SpanWork

_EAGER = 4  # how much more often an idle worker looks while others are at work
_JUMP_SECONDS = 1.0  # clocks that part by more between two looks were set, not slewed
_log = logging.getLogger(__name__)


class SpanLoop:
    """A worker's loop, or one of them (`worker.crew`).

    `run` returns soon after `stop` is set; `wake` makes it look at once.
    """

    def __init__(
        self,
        settings: Settings,
        database: Database,
        identity: Identity,
        *,
        pace: Pace | None = None,
        seat: Seat | None = None,
    ) -> None:
        """`seat`: where one worker has several loops; None: this one is all of it."""
        self.stop = threading.Event()
        self.wake = threading.Event()
        self._settings = settings
        self._database = database
        self._me = identity
        self._work = SpanWork(settings, database, identity, self._record)
        self._seat = seat or Presence(*identity.names).seat()
        self._pace = pace or Pace()
        self._tick = self._pace.tick
        self._live = Live(
            settings, database, self._turn, identity, self._pace, seat=self._seat, stop=self.stop
        )
        self._taken: StepLease | None = None  # a request for which a span was handed back
        self._ready = Readiness(database, settings, identity.device)
        self._busy = False  # whether others were at work at the last look
        self._said: tuple[str, float] | None = None  # the trouble that was told last, and when
        self._hindrance = Hindrance(settings.data_dir, identity.name, self._pace.tick)
        self._doubt_until = 0.0  # by the monotonic clock: until then no lease is taken as expired
        self._clocks: float | None = None  # the database's clock less ours, at the last look

    def run(self) -> None:
        """Work until `stop` is set."""
        while not self.stop.is_set():
            if self._hindrance.holds():
                self._try(self._report_idle)
                self.stop.wait(self._pace.tick)
            elif not self._try(self.step):
                self._try(self._report_idle)
                self._try(self._get_ready)
                self.wake.wait(self._tick)
            self.wake.clear()
        self._try(self._sign_off)

    def ask_to_stop(self) -> None:
        """Make `run` return at the next frame's end. Not for signal handlers: it takes locks."""
        self.stop.set()
        self.wake.set()

    def step(self) -> bool:
        """Serve the sessions that people wait in front of, or else work on one span.

        Returns whether there was anything to do.
        """
        taken, self._taken = self._taken, None
        if self._live.serve(taken):
            return True
        with self._database.read() as session:
            seen = leases.look(session)
        self._compare_clocks(seen.now)
        self._busy = seen.busy
        self._tick = self._pace.tick / (_EAGER if seen.busy else 1)
        if not seen.anything:
            return False
        with self._turn() as session:
            if time.monotonic() >= self._doubt_until:
                leases.return_expired(session, self._settings.max_attempts)
            lease = leases.claim(session, self._me.name, self._pace.lease)
        if lease is None:
            return False
        self._work_on(lease)
        return True

    def _compare_clocks(self, now: float) -> None:
        """Doubt for one lease's time that leases expired, where the database's clock was set.

        Whoever works renews in that time, by the new clock.
        """
        apart = now - time.monotonic()
        if self._clocks is not None and abs(apart - self._clocks) > _JUMP_SECONDS:
            _log.warning("The database's clock jumped by %.0f s.", apart - self._clocks)
            self._doubt_leases()
        self._clocks = apart

    def _doubt_leases(self) -> None:
        self._doubt_until = time.monotonic() + self._pace.lease

    @contextmanager
    def _turn(self) -> Iterator[Session]:
        """One write transaction. Where its turn was long in coming, nobody could renew a lease."""
        asked = time.monotonic()
        with self._database.write() as session:
            if time.monotonic() - asked > self._pace.lease / 2:
                self._doubt_leases()
            yield session

    def _work_on(self, lease: Lease) -> None:
        named = logs.attempt(
            job=lease.job_id,
            run=lease.run_number,
            span=lease.ordinal,
            attempt=lease.attempts,
            fence=lease.fence,
        )
        with (
            named,
            Heartbeat(
                self._database,
                self._me,
                lease,
                self._pace,
                self.stop,
                seat=self._seat,
                # Learning keeps nothing of an attempt: people who click would restart it for ever.
                claim=None if lease.learns else self._live.claim,
            ) as beat,
        ):
            _log.info("%s: attempt %s at %s.", self._me.name, lease.attempts, lease.doing)
            try:
                self._work.do(lease, beat)
                self._hindrance.passed()
            except InputError as exc:
                sentence, cause = str(exc), exc.__cause__
                if isinstance(cause, OSError) and self._hindrance.met(cause):
                    self._work.hand_back(lease, beat, beat.frames_done)
                elif isinstance(cause, OSError) and cause.errno in FAULTS:
                    self._fail(lease, beat, exc)
                else:
                    self._record(beat, lambda session: leases.refuse(session, lease, sentence))
            except AWAY as exc:
                _log.warning("%s: the database is away (%s).", lease.doing, one_line(str(exc.orig)))
                self._work.hand_back(lease, beat, beat.frames_done)
            except Exception as exc:  # noqa: BLE001 - the boundary: one bad span stops no worker
                if isinstance(exc, OSError) and self._hindrance.met(exc):
                    self._work.hand_back(lease, beat, beat.frames_done)
                else:
                    self._fail(lease, beat, exc)
        self._said = None
        self._taken = beat.taken
        if beat.database_was_away:
            self._doubt_leases()

    def _fail(self, lease: Lease, beat: Heartbeat, exc: Exception) -> None:
        _log.exception("Attempt %s at %s failed.", lease.attempts, lease.doing, exc_info=exc)
        error = one_line(f"{type(exc).__name__}: {exc}", 200)
        most = self._settings.max_attempts
        self._record(beat, lambda session: leases.fail_attempt(session, lease, error, most))

    def _record(self, beat: Heartbeat, change: Callable[[Session], bool]) -> bool:
        """Write down what became of a span, waiting for a database that is away.

        When the worker is asked to stop meanwhile, nothing is lost: the lease ends, and the
        span's file is still there.
        """
        beat.closing = True
        while True:
            try:
                with self._turn() as session:
                    beat.tell(session)  # before: nothing is told behind a run's end
                    return change(session)
            except AWAY as exc:
                _log.warning("The database is away (%s); trying again.", one_line(str(exc.orig)))
                self._doubt_leases()
                if self.stop.wait(self._pace.tick):
                    return False

    def _report_idle(self) -> bool:
        """Say that this worker waits, and for what; what was said a moment ago is not repeated."""
        saying = self._hindrance.sentence, time.monotonic()
        before = self._said or (None, 0.0)
        if before[0] == saying[0] and saying[1] - before[1] < self._pace.tick:
            return True
        with self._turn() as session:
            self._seat.report(session, doing="", trouble=self._hindrance.sentence)
        self._said = saying
        return True

    def _get_ready(self) -> bool:
        """Use the wait for a span of a run that others are at work on."""
        if self._busy:
            self._ready.improve()
        return True

    def _sign_off(self) -> bool:
        self._live.close(self._taken)
        with self._database.write() as session:
            self._seat.sign_off(session)
        return True

    def _try(self, action: Callable[[], bool]) -> bool:
        """Do something that needs the database; a database that is away only costs time."""
        try:
            return action()
        except AWAY as exc:
            _log.warning("The database is away (%s); trying again.", one_line(str(exc.orig)))
            self._doubt_leases()
        except Exception:  # noqa: BLE001 - the boundary: a worker outlives every error of ours
            _log.exception("The worker goes on after an error of ours.")
        return False
