"""What a worker does all day: claim a span, compute it, record it, again; else wait to be woken.

While it works, a heartbeat in a thread of its own renews the lease and reports progress. When the
lease is lost (cancelled, or given up as dead) or the worker is asked to stop, the work ends at the
next frame; what was computed stays in the span's file for whoever goes on.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Self

from sqlalchemy import select, update
from sqlalchemy.exc import InterfaceError, InternalError, OperationalError
from sqlalchemy.orm import Session

from config import Settings
from errors import InputError, one_line
from jobs.db import Database
from jobs.files import JobFiles
from jobs.models import ASSEMBLE, LEARN, Run, Span
from jobs.plan import RunInputs, RunPlan
from jobs.queue import TICK_SECONDS
from jobs.store_inputs import earlier_path, inputs_of, learned_path
from tracker import engines
from worker import leases
from worker.assemble import assemble
from worker.compute import compute_span
from worker.learning import learn_objects, read_earlier, write_learned
from worker.leases import Lease
from worker.local import used_device

_AWAY = (OperationalError, InterfaceError, InternalError)  # the database, not our statement
_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class Identity:
    """Who a worker is. `device`: as asked for ("auto", "cpu", "cuda:0")."""

    name: str
    host: str
    device: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Pace:
    """Times in seconds: how long a lease lasts, between heartbeats, and between looks for work."""

    lease: float = leases.LEASE_SECONDS
    heartbeat: float = leases.HEARTBEAT_SECONDS
    tick: float = TICK_SECONDS


@dataclass(frozen=True, slots=True, kw_only=True)
class _Work:
    """All that one span needs beside its lease."""

    inputs: RunInputs
    plan: RunPlan
    began: float  # when the run started
    learned: Path | None  # the file with what the engine learned for this run
    earlier: Path | None  # the same of the run that this one builds on
    learning_seconds: float
    span_files: dict[int, str]  # names of finished spans' files, by ordinal
    devices: str  # what finished spans ran on


class SpanLoop:
    """One worker's loop. `run` returns soon after `stop` is set; `wake` makes it look at once."""

    def __init__(
        self,
        settings: Settings,
        database: Database,
        identity: Identity,
        *,
        pace: Pace | None = None,
    ) -> None:
        self.stop = threading.Event()
        self.wake = threading.Event()
        self._settings = settings
        self._database = database
        self._files = JobFiles(settings.data_dir)
        self._me = identity
        self._pace = pace or Pace()

    def run(self) -> None:
        """Work until `stop` is set."""
        while not self.stop.is_set():
            if not self._try(self.step):
                self._try(self._report_idle)
                self.wake.wait(self._pace.tick)
            self.wake.clear()
        self._try(self._sign_off)

    def ask_to_stop(self) -> None:
        """Make `run` return at the next frame's end. Not for signal handlers: it takes locks."""
        self.stop.set()
        self.wake.set()

    def step(self) -> bool:
        """Work on one span, if there is one. Returns whether there was."""
        with self._database.read() as session:
            if not leases.anything_to_do(session):
                return False
        with self._database.write() as session:
            leases.return_expired(session)
            lease = leases.claim(session, self._me.name, self._pace.lease)
        if lease is None:
            return False
        self._work_on(lease)
        return True

    def _work_on(self, lease: Lease) -> None:
        _log.info("%s: attempt %s at %s.", self._me.name, lease.attempts, lease.doing)
        with Heartbeat(self._database, self._me, lease, self._pace, self.stop) as beat:
            try:
                if lease.learns:
                    self._learn(lease, beat)
                elif lease.writes_result:
                    self._write_result(lease)
                else:
                    self._compute(lease, beat)
            except InputError as exc:
                sentence = str(exc)
                self._record(lambda session: leases.refuse(session, lease, sentence))
            except Exception as exc:  # noqa: BLE001 - the boundary: one bad span stops no worker
                _log.exception("Attempt %s at %s failed.", lease.attempts, lease.doing)
                error = one_line(f"{type(exc).__name__}: {exc}", 200)
                self._record(lambda session: leases.fail_attempt(session, lease, error))

    def _learn(self, lease: Lease, beat: Heartbeat) -> None:
        work = self._prepare(lease)
        if work is None:
            return
        device = used_device(work.inputs.engine, self._me.device)
        outcome = learn_objects(
            work.inputs,
            work.plan,
            device=device,
            threads=self._settings.threads,
            earlier=read_earlier(work.earlier),
            should_stop=beat.should_stop,
        )
        if outcome.stopped:
            self._record(lambda session: leases.hand_back(session, lease, 0))
            return
        # Equal key frames teach the same, so it does not matter when a worker that was given up
        # meanwhile writes too: its file has another name, and nobody is told of it.
        file = write_learned(self._folder(lease), lease.fence, outcome.learned)
        self._finish(lease, file, outcome.seconds, {}, device)

    def _compute(self, lease: Lease, beat: Heartbeat) -> None:
        work = self._prepare(lease)
        if work is None:
            return
        span = next(span for span in work.plan.spans if span.ordinal == lease.ordinal)
        device = used_device(work.inputs.engine, self._me.device)
        outcome = compute_span(
            work.inputs,
            work.plan,
            span,
            folder=self._folder(lease),
            fence=lease.fence,
            device=device,
            threads=self._settings.threads,
            learned=work.learned.read_bytes() if work.learned else None,
            on_progress=beat.progress,
            should_stop=beat.should_stop,
        )
        if outcome.stopped:
            self._record(lambda session: leases.hand_back(session, lease, beat.frames_done))
            return
        self._finish(lease, outcome.file.name, outcome.seconds, outcome.stages, device)

    def _folder(self, lease: Lease) -> Path:
        """The folder of the run's spans, made where it is not there."""
        folder = self._files.spans(lease.job_id, lease.revision, lease.run_number)
        folder.mkdir(parents=True, exist_ok=True)
        return folder

    def _finish(
        self, lease: Lease, file: str, seconds: float, stages: dict[str, float], device: str
    ) -> None:
        recorded = self._record(
            lambda session: leases.finish_span(
                session, lease, file=file, seconds=seconds, stages=stages, device=device
            )
        )
        if not recorded:
            _log.warning("%s came too late: somebody else has it.", lease.doing)

    def _write_result(self, lease: Lease) -> None:
        work = self._prepare(lease)
        if work is None:
            return
        place = (lease.job_id, lease.revision, lease.run_number)
        folder, out = self._files.spans(*place), self._files.result(*place)
        out.parent.mkdir(parents=True, exist_ok=True)
        began = time.perf_counter()
        # Whoever assembles it again writes the same bytes, so it does not matter when a worker
        # that was given up meanwhile publishes it too.
        result = assemble(
            work.inputs,
            work.plan,
            span_files={ordinal: folder / name for ordinal, name in work.span_files.items()},
            out=out,
            report=self._files.report(*place),
            device=work.devices,
            began=work.began,
            learning_seconds=work.learning_seconds,
        )
        self._record(
            lambda session: leases.finish_run(
                session,
                lease,
                sha256=result.sha256,
                size=result.bytes,
                seconds=time.perf_counter() - began,
                device=self._me.device,
            )
        )

    def _prepare(self, lease: Lease) -> _Work | None:
        """Read what the span needs; None when the run is gone."""
        with self._database.write() as session:
            # The first worker settles what "auto" means, so that all spans use one engine.
            session.execute(
                update(Run)
                .where(Run.id == lease.run_id, Run.engine == engines.AUTO)
                .values(engine=engines.resolve(engines.AUTO).name)
            )
            run = session.get(Run, lease.run_id)
            if run is None:
                return None
            done = session.execute(
                select(Span.ordinal, Span.file, Span.device).where(
                    Span.run_id == run.id, Span.direction.not_in((ASSEMBLE, LEARN)), Span.file != ""
                )
            ).all()
            learning = session.scalars(
                select(Span.seconds).where(Span.run_id == run.id, Span.direction == LEARN)
            ).one_or_none()
            return _Work(
                inputs=inputs_of(session, self._files, run, self._settings.limits),
                plan=RunPlan.from_json(run.plan),
                began=run.started or run.created,
                learned=learned_path(session, self._files, run),
                earlier=earlier_path(session, self._files, run),
                learning_seconds=learning or 0.0,
                span_files={row.ordinal: row.file for row in done},
                devices=", ".join(sorted({row.device for row in done})) or "cpu",
            )

    def _record(self, change: Callable[[Session], bool]) -> bool:
        """Write down what became of a span, waiting for a database that is away.

        When the worker is asked to stop meanwhile, nothing is lost: the lease ends, and the
        span's file is still there.
        """
        while True:
            try:
                with self._database.write() as session:
                    return change(session)
            except _AWAY as exc:
                _log.warning("The database is away (%s); trying again.", one_line(str(exc.orig)))
                if self.stop.wait(self._pace.tick):
                    return False

    def _report_idle(self) -> bool:
        with self._database.write() as session:
            leases.report(session, **_fields(self._me), doing="")
        return True

    def _sign_off(self) -> bool:
        with self._database.write() as session:
            leases.sign_off(session, name=self._me.name, host=self._me.host)
        return True

    def _try(self, action: Callable[[], bool]) -> bool:
        """Do something that needs the database; a database that is away only costs time."""
        try:
            return action()
        except _AWAY as exc:
            _log.warning("The database is away (%s); trying again.", one_line(str(exc.orig)))
        except Exception:  # noqa: BLE001 - the boundary: a worker outlives every error of ours
            _log.exception("The worker goes on after an error of ours.")
        return False


class Heartbeat:
    """Renews a lease for as long as the `with` block lasts."""

    def __init__(
        self,
        database: Database,
        identity: Identity,
        lease: Lease,
        pace: Pace,
        stop: threading.Event,
    ) -> None:
        self._database = database
        self._me = identity
        self._lease = lease
        self._pace = pace
        self._stop = stop
        self.frames_done = 0
        self._lost = False
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._run, name="heartbeat", daemon=True)

    def progress(self, done: int, total: int) -> None:
        """Note how many frames are done; the next heartbeat reports it."""
        self.frames_done = done

    def should_stop(self) -> bool:
        """Whether the work should end at this frame."""
        return self._lost or self._stop.is_set()

    def _run(self) -> None:
        while True:
            try:
                with self._database.write() as session:
                    held = leases.renew(session, self._lease, self.frames_done, self._pace.lease)
                    leases.report(session, **_fields(self._me), doing=self._lease.doing)
            except _AWAY as exc:
                # The work goes on: if the lease ends meanwhile, the fence decides.
                _log.warning("No heartbeat: the database is away (%s).", one_line(str(exc.orig)))
            else:
                if not held:
                    _log.warning("%s: the lease is lost.", self._lease.doing)
                    self._lost = True
                    return
            if self._ended.wait(self._pace.heartbeat):
                return

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._ended.set()
        self._thread.join()


def _fields(identity: Identity) -> dict[str, str]:
    return {"name": identity.name, "host": identity.host, "device": identity.device}
