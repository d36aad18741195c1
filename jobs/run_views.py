"""Reading runs: their rows and their spans' become the views that people and programs see."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, fields
from typing import Any

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from jobs.db import db_now
from jobs.growth import next_frame_view
from jobs.models import ASSEMBLE, LEARN, Revision, Run, Span
from jobs.options import Direction, KeyFrames, MemoryKeeps, Mode, Priority, Prompts, RunOptions
from jobs.views import RunState, RunView, SpanState, SpanView


def options_from(stored: Mapping[str, Any]) -> RunOptions:
    """The options of a run as its row keeps them; values unknown to this version are left out."""
    known = {field.name for field in fields(RunOptions)}
    values = {name: value for name, value in stored.items() if name in known}
    for name, kind in (
        ("mode", Mode),
        ("direction", Direction),
        ("keyframes", KeyFrames),
        ("priority", Priority),
        ("prompts", Prompts),
        ("memory_keeps", MemoryKeeps),
    ):
        if name in values:
            values[name] = kind(values[name])
    return RunOptions(**values)


@dataclass(frozen=True, slots=True)
class _Progress:
    frames_done: int
    workers: tuple[str, ...]


def run_views(
    session: Session, runs: Collection[Run], with_spans: Collection[int]
) -> list[RunView]:
    """The views of some runs; those whose ids are `with_spans` hold their spans."""
    ids = [run.id for run in runs]
    progress = _progress(session, ids)
    learning = set(
        session.scalars(
            select(Span.run_id).where(
                Span.run_id.in_(ids),
                Span.direction == LEARN,
                Span.state != SpanState.DONE.value,
            )
        )
    )
    spans: dict[int, list[SpanView]] = {}
    if with_spans:
        for span in session.scalars(
            select(Span).where(Span.run_id.in_(with_spans)).order_by(Span.run_id, Span.ordinal)
        ):
            spans.setdefault(span.run_id, []).append(_span_view(span))
    now = session.scalars(select(db_now())).one() if runs else 0.0
    in_job = {
        run_id: frames or 0
        for run_id, frames in session.execute(
            select(Run.id, Revision.summary["frames"].as_integer())
            .join(Revision, (Revision.job_id == Run.job_id) & (Revision.number == Run.revision))
            .where(Run.id.in_(ids))
        )
    }
    return [
        _run_view(
            run,
            progress.get(run.id, _Progress(0, ())),
            run.id in learning,
            tuple(spans.get(run.id, ())),
            now,
            in_job.get(run.id, 0),
        )
        for run in runs
    ]


def _progress(session: Session, run_ids: Iterable[int]) -> dict[int, _Progress]:
    rows = session.execute(
        select(Span.run_id, Span.worker, func.sum(Span.frames_done))
        .where(Span.run_id.in_(list(run_ids)), Span.direction != ASSEMBLE)
        .group_by(Span.run_id, Span.worker)
        .order_by(Span.worker)
    )
    found: dict[int, _Progress] = {}
    for run_id, worker, frames in rows:
        before = found.get(run_id, _Progress(0, ()))
        names = (*before.workers, worker) if worker else before.workers
        found[run_id] = _Progress(before.frames_done + int(frames), names)
    return found


def _run_view(
    run: Run,
    progress: _Progress,
    learning: bool,
    spans: tuple[SpanView, ...],
    now: float,
    frames_in_job: int,
) -> RunView:
    running = run.state == RunState.RUNNING.value
    until = now if running else run.finished
    # What an earlier attempt did, and the time since, say nothing of the speed after a retry.
    began = run.started if run.resumed is None else run.resumed
    elapsed = until - began if until is not None and began is not None else 0.0
    speed = max(0, progress.frames_done - run.frames_before) / elapsed if elapsed > 0 else 0.0
    left = run.frames_total - progress.frames_done
    return RunView(
        number=run.number,
        revision=run.revision,
        state=RunState(run.state),
        learning=running and learning,
        options=options_from(run.options),
        engine=run.engine,
        created=run.created,
        started=run.started,
        finished=run.finished,
        frames_done=progress.frames_done,
        frames_total=run.frames_total,
        frames_in_job=frames_in_job,
        frames_per_second=speed,
        eta_seconds=left / speed if running and speed > 0 else None,
        workers=progress.workers,
        spans=spans,
        result_bytes=run.result_bytes,
        result_sha256=run.result_sha256,
        error=run.error,
        flagged_frames=run.flagged_frames,
        next_frame=next_frame_view(run.number, run.next_frame),
        notices=tuple(run.notices),
    )


def _span_view(span: Span) -> SpanView:
    return SpanView(
        ordinal=span.ordinal,
        start=span.start,
        stop=span.stop,
        direction=span.direction,
        state=SpanState(span.state),
        attempts=span.attempts,
        frames_done=span.frames_done,
        frames_total=span.frames_total,
        worker=span.worker,
        seconds=span.seconds,
        error=span.error,
    )
