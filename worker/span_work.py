"""The work that a lease is for: the engine learns, a span is computed, or the result is written.

How it ends is recorded by whoever claimed it (`worker.loop`), who also knows what to do when it
goes wrong.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from dataclasses import replace

from sqlalchemy.orm import Session

from config import Settings
from jobs.db import Database
from jobs.files import JobFiles
from jobs.store_runs import tell
from tracker.segmenters.protocol import Segmenter
from worker import leases
from worker.assemble import assemble
from worker.compute import compute_span
from worker.derive import derive
from worker.heartbeat import Heartbeat, Identity
from worker.learning import learn_objects, read_earlier, write_learned
from worker.leases import Lease
from worker.local import own_device, used_device
from worker.prepare import Work, prepare, settle_engine, spans_folder
from worker.prompts import adds_masks, complete, segmenter
from worker.seeds import RecentSeeds

Record = Callable[[Heartbeat, Callable[[Session], bool]], bool]
"""Writes down what became of a lease's work; returns whether the lease still held."""

_log = logging.getLogger(__name__)


class SpanWork:
    """Does what leases are for, one after the other; keeps what the next one may need again."""

    def __init__(
        self, settings: Settings, database: Database, identity: Identity, record: Record
    ) -> None:
        self._settings = settings
        self._kept = settings.data_dir / "embeddings"  # of images that segmenters have encoded
        self._seeds = RecentSeeds()
        self._database = database
        self._files = JobFiles(settings.data_dir)
        self._me = identity
        self._record = record

    def do(self, lease: Lease, beat: Heartbeat) -> None:
        """Work until it is done and recorded, or until `beat` says to stop: then it is handed back.

        Raises InputError for what a person can mend, and whatever else goes wrong as it is.
        """
        if lease.learns:
            self._learn(lease, beat)
        elif lease.writes_result:
            self._write_result(lease, beat)
        else:
            self._compute(lease, beat)

    def hand_back(self, lease: Lease, beat: Heartbeat, frames_done: int) -> None:
        """Let somebody else go on, without using up an attempt."""
        self._record(beat, lambda session: leases.hand_back(session, lease, frames_done))

    def _learn(self, lease: Lease, beat: Heartbeat) -> None:
        work = self._prepare(lease, beat)
        if work is None:
            return
        device = used_device(work.inputs.engine, self._me.device)
        outcome = learn_objects(
            work.inputs,
            work.plan,
            device=device,
            threads=self._settings.threads,
            seeds=self._seeds.of(work.inputs, work.plan),
            earlier=read_earlier(work.earlier),
            should_stop=beat.should_stop,
        )
        if outcome.stopped:
            self.hand_back(lease, beat, 0)
            return
        # Equal key frames teach the same, so it does not matter when a worker that was given up
        # meanwhile writes too: its file has another name, and nobody is told of it.
        file = write_learned(spans_folder(self._files, lease), lease.fence, outcome.learned)
        self._finish(lease, beat, file, outcome.seconds, {}, device, frames=0)

    def _compute(self, lease: Lease, beat: Heartbeat) -> None:
        work = self._prepare(lease, beat)
        if work is None:
            return
        span = next(span for span in work.plan.spans if span.ordinal == lease.ordinal)
        device = used_device(work.inputs.engine, self._me.device)
        outcome = compute_span(
            work.inputs,
            work.plan,
            span,
            folder=spans_folder(self._files, lease),
            fence=lease.fence,
            device=device,
            threads=self._settings.threads,
            compiled=self._settings.compile,
            spans_at_once=self._settings.spans_at_once,
            learned=work.learned.read_bytes() if work.learned else None,
            on_progress=beat.progress,
            should_stop=beat.should_stop,
            seeds=self._seeds.of(work.inputs, work.plan),
            make_segmenter=lambda: self._segmenter(work, beat),
            on_notice=beat.notice,
        )
        if outcome.stopped:
            self.hand_back(lease, beat, beat.frames_done)
            return
        self._finish(
            lease,
            beat,
            outcome.file.name,
            outcome.seconds,
            outcome.stages,
            device,
            span.frames_total,
        )

    def _finish(
        self,
        lease: Lease,
        beat: Heartbeat,
        file: str,
        seconds: float,
        stages: dict[str, float],
        device: str,
        frames: int,
    ) -> None:
        recorded = self._record(
            beat,
            lambda session: leases.finish_span(
                session,
                lease,
                file=file,
                seconds=seconds,
                stages=stages,
                device=device,
                frames=frames,
            ),
        )
        if not recorded:
            _log.warning("%s came too late: somebody else has it.", lease.doing)

    def _write_result(self, lease: Lease, beat: Heartbeat) -> None:
        work = self._prepare(lease, beat)
        if work is None:
            return
        place = (lease.job_id, lease.revision, lease.run_number)
        folder, out = spans_folder(self._files, lease), self._files.result(*place)
        began = time.perf_counter()
        # Whoever assembles it again writes the same bytes, so it does not matter when a worker
        # that was given up meanwhile publishes it too.
        span_files = {ordinal: folder / name for ordinal, name in work.span_files.items()}
        result = assemble(
            work.inputs,
            work.plan,
            span_files=span_files,
            out=out,
            report=self._files.report(*place),
            device=work.devices,
            began=work.began,
            learning_seconds=work.learning_seconds,
            notices=work.notices,
        )

        def publish(session: Session) -> bool:
            done = leases.finish_run(
                session,
                lease,
                sha256=result.sha256,
                size=result.bytes,
                seconds=time.perf_counter() - began,
                device=self._me.device,
                flagged_frames=result.report["flagged_frames"],
                next_frame=result.report["next_frame"],
            )
            if done:
                tell(session, lease.run_id, result.report["notices"])
            return done

        if self._record(beat, publish):
            derive(self._files, lease, work.inputs, work.plan, span_files, result.sha256)

    def _prepare(self, lease: Lease, beat: Heartbeat) -> Work | None:
        """Read what the span needs; None when the run is gone, or the work must stop.

        Masks that the export lacks are added at the run's first span, beside which nobody works.
        """
        settle_engine(self._database, self._settings, lease, self._me.device)
        with self._database.write() as session:
            work = prepare(session, self._files, self._settings.limits, lease.run_id)
        if work is None or not adds_masks(work.inputs.options, work.plan):
            return work
        inputs = complete(
            work.inputs,
            work.plan,
            spans_folder(self._files, lease),
            make_segmenter=lambda: self._segmenter(work, beat),
            threads=self._settings.threads,
            should_stop=beat.should_stop,
        )
        if inputs is None:
            self.hand_back(lease, beat, beat.frames_done)
            return None
        return replace(work, inputs=inputs)

    def _segmenter(self, work: Work, beat: Heartbeat) -> Segmenter:
        return segmenter(
            work.inputs.options, own_device(self._me.device), self._kept, on_notice=beat.notice
        )
