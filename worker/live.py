"""A worker's loop serving live sessions: requests of people who sit in front of a picture and wait.

They come before spans. What a session needs stays in memory, and after a request the loop lingers
for some seconds, since the next one is likely to come.
"""

from __future__ import annotations

import logging
import threading
import time
import uuid
from collections.abc import Callable
from functools import partial
from pathlib import Path

import logs
from config import Settings
from errors import InputError, one_line
from jobs import session_start
from jobs.db import AWAY, Database
from jobs.files import JobFiles
from jobs.session_base import write_base
from jobs.session_models import LiveSession
from tracker import engines, models
from tracker.fits import memory_in_words
from tracker.protocol import Propagator
from worker import live_leases
from worker.heartbeat import Identity, Pace
from worker.live_beat import LiveBeat
from worker.live_clicks import Clicks
from worker.live_desk import Desk, Desks, Facts
from worker.live_learning import StoppedError, learn
from worker.live_leases import StepLease
from worker.live_steps import GoneError, LostError, Outcome, Steps, Turn
from worker.local import own_device, used_device
from worker.presence import Seat

LINGER_SECONDS = 5.0  # after a request, before the loop goes back to spans
LOOK_SECONDS = 0.005  # between two looks meanwhile
_log = logging.getLogger(__name__)


class Live:
    """Serves sessions in one loop of a worker; `wake`, when set, makes it look at once."""

    def __init__(
        self,
        settings: Settings,
        database: Database,
        turn: Turn,
        identity: Identity,
        pace: Pace,
        *,
        seat: Seat,
        stop: threading.Event,
    ) -> None:
        """`turn`: one write transaction. `stop`: set when the worker is to end."""
        self._settings = settings
        self._database = database
        self._turn = turn
        self._me = identity
        self._pace = pace
        self._seat = seat
        self._stop = stop
        self._files = JobFiles(settings.data_dir)
        self._holder = f"{identity.name[:60]}#{uuid.uuid4().hex[:12]}"
        self._desks = Desks(settings.limits)
        self._clicks: Clicks | None = None

    def serve(self, taken: StepLease | None = None) -> bool:
        """Do what people wait for, and what they ask for within some seconds of it.

        `taken`: a request that was claimed already. Returns whether there was anything.
        """
        lease = taken or self._claim()
        if lease is None:
            return False
        while lease is not None:
            self._do(lease)
            lease = self._linger(lease.doing)
        return True

    def claim(self) -> StepLease | None:
        """Take a request for this loop, which is busy with a span: to be served right after."""
        return self._claim(left_seconds=0.0)

    def close(self, taken: StepLease | None = None) -> None:
        """Let go of what is kept in memory; `taken`: a request that others have to do."""
        self._desks.close()
        if taken is not None:
            self._record(partial(live_leases.hand_back, lease=taken))

    # -- requests ----------------------------------------------------------------------------------

    def _claim(self, left_seconds: float = live_leases.LEFT_SECONDS) -> StepLease | None:
        with self._database.read() as session:
            if not live_leases.is_waiting(session, self._holder, left_seconds):
                return None
        with self._turn() as session:
            return live_leases.claim(
                session, self._holder, self._me.name, self._pace.lease, left_seconds
            )

    def _linger(self, doing: str) -> StepLease | None:
        began, told = time.monotonic(), 0.0
        while (rested := time.monotonic() - began) < LINGER_SECONDS and not self._stop.is_set():
            lease = self._claim()
            if lease is not None:
                return lease
            if time.monotonic() - told > self._pace.heartbeat:
                told = time.monotonic()
                with self._turn() as session:
                    self._seat.report(session, doing=doing)
            # Who holds a key down asks at once; who thinks does not miss a few milliseconds.
            self._stop.wait(LOOK_SECONDS if rested < 1 else 4 * LOOK_SECONDS)
        return None

    def _do(self, lease: StepLease) -> None:
        named = logs.attempt(
            job=lease.job_id, run=0, span=lease.id, attempt=lease.attempts, fence=lease.fence
        )
        with named, LiveBeat(self._database, lease, self._pace, self._stop, self._seat) as beat:
            try:
                if self._try(lease, beat) is Outcome.HANDED_BACK:
                    self._record(partial(live_leases.hand_back, lease=lease))
            except (GoneError, LostError):
                _log.info("Request %s of job %s is gone.", lease.id, lease.job_id)
            except StoppedError:
                if beat.unwanted:
                    self._record(partial(live_leases.end, lease=lease, stopped=True))
                elif not beat.lost:
                    self._record(partial(live_leases.hand_back, lease=lease))
            except InputError as exc:
                self._record(partial(live_leases.end, lease=lease, error=str(exc)))
            except AWAY as exc:
                _log.warning("%s: the database is away (%s).", lease.doing, one_line(str(exc.orig)))
                raise
            except Exception as exc:  # noqa: BLE001 - the boundary: one bad request stops no worker
                _log.exception("Request %s of job %s failed.", lease.id, lease.job_id)
                error = one_line(f"{type(exc).__name__}: {exc}", 200)
                self._desks.forget(lease.job_id)
                self._record(partial(live_leases.hand_back, lease=lease, error=error))

    def _record(self, change: partial[bool]) -> None:
        with self._turn() as session:
            change(session)

    def _try(self, lease: StepLease, beat: LiveBeat) -> Outcome:
        desk, row = self._desk(lease)
        if lease.kind == "segment":
            answer = self._look().answer(desk, row.segmenter, lease.arguments)
            self._record(partial(live_leases.end, lease=lease, answer=answer))
            return Outcome.RECORDED
        engine = self._engine(desk, row, beat, again=bool(lease.arguments.get("learn")))
        asked = lease.arguments
        if lease.kind == "prepare":
            asked = {"from": asked["frame"], "to": asked["frame"]}
        with memory_in_words(row.engine):
            steps = Steps(self._database, self._turn, desk, lease, beat, engine, asked)
            if lease.kind == "step":
                return steps.run()
            steps.warm()
            self._look().look(desk, row.segmenter, asked["from"])
        self._record(partial(live_leases.end, lease=lease, answer={}))
        return Outcome.RECORDED

    # -- what is needed ----------------------------------------------------------------------------

    def _desk(self, lease: StepLease) -> tuple[Desk, LiveSession]:
        with self._database.read() as session:
            row = session.get(LiveSession, lease.job_id)
            if row is None:
                raise GoneError
            facts = Facts(
                job_id=row.job_id,
                revision=row.revision,
                began=row.began,
                base=session_start.base_path(self._files, row),
                images=session_start.images_path(session, self._files, row),
            )
            inputs = None
            if not facts.base.is_file():
                inputs = session_start.base_inputs(session, self._files, self._settings, row)
        if inputs is not None:  # not in a transaction: reading an archive takes long
            write_base(facts.base, inputs)
        return self._desks.of(facts), row

    def _engine(
        self, desk: Desk, row: LiveSession, beat: LiveBeat, *, again: bool
    ) -> Callable[[], Propagator]:
        """How to make a propagator of the session's engine, which has learned where it does."""
        models.use_folder(self._settings.model_dir)
        engines.require(row.engine)
        device = used_device(row.engine, self._me.device)
        learned = self._learned(desk, row, beat, device, again=again)
        if desk.kept.get("engine") != (row.engine, learned):
            desk.kept = {"engine": (row.engine, learned)}
        return partial(
            engines.make,
            row.engine,
            device,
            threads=self._settings.threads,
            compiled=self._settings.compile,
            learned=None if learned is None else learned.read_bytes(),
        )

    def _learned(
        self, desk: Desk, row: LiveSession, beat: LiveBeat, device: str, *, again: bool
    ) -> Path | None:
        if not engines.resolve(row.engine).learns:
            return None
        path = self._files.job(row.job_id) / row.learned
        if row.learned and path.is_file() and not again:
            return path
        return learn(
            self._database,
            self._turn,
            desk,
            row,
            beat,
            folder=self._files.job(row.job_id),
            device=device,
            threads=self._settings.threads,
        )

    def _look(self) -> Clicks:
        if self._clicks is None:
            models.use_folder(self._settings.model_dir)
            kept = self._settings.data_dir / "embeddings"
            self._clicks = Clicks(own_device(self._me.device), kept, self._settings.threads)
        return self._clicks
