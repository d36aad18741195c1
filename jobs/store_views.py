"""Reading: rows become the views that pages, API and CLI show."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, fields
from typing import Any

from sqlalchemy import ColumnElement, and_, case, func, or_, select
from sqlalchemy.orm import Session

from jobs.db import db_now
from jobs.models import ASSEMBLE, LEARN, Event, Job, Notice, Revision, Run, Span, Worker
from jobs.store import no_such_job
from jobs.views import (
    Direction,
    EventView,
    JobDetail,
    JobPage,
    JobState,
    JobView,
    KeyFrames,
    LabelView,
    Mode,
    RevisionView,
    RunOptions,
    RunState,
    RunView,
    SpanState,
    SpanView,
    WorkerView,
)

WORKER_SECONDS = 30.0  # a worker that said nothing for longer is not shown

_LATEST_REVISION = and_(Revision.job_id == Job.id, Revision.number == Job.revision)
_LATEST_RUN = and_(Run.job_id == Job.id, Run.number == Job.run)
_STATE: ColumnElement[str] = case(
    (Revision.refused != "", JobState.FAILED.value),
    (Run.id.is_(None), JobState.READY.value),
    (Run.state == RunState.QUEUED.value, JobState.QUEUED.value),
    (Run.state == RunState.RUNNING.value, JobState.RUNNING.value),
    (Run.state == RunState.DONE.value, JobState.COMPLETED.value),
    else_=JobState.FAILED.value,
)


@dataclass(frozen=True, slots=True)
class _Progress:
    frames_done: int
    workers: tuple[str, ...]


def list_jobs(
    session: Session, *, search: str, state: JobState | None, limit: int, offset: int
) -> JobPage:
    """One page of jobs, the one that changed last first."""
    fits: list[ColumnElement[bool]] = [Job.deleted.is_(False)]
    if search:
        fits.append(
            or_(
                Job.id.icontains(search, autoescape=True),
                Job.name.icontains(search, autoescape=True),
            )
        )
    joined = (
        select(Job, Revision, Run, _STATE)
        .join(Revision, _LATEST_REVISION)
        .outerjoin(Run, _LATEST_RUN)
        .where(*fits)
    )
    counted = (
        select(_STATE, func.count())
        .select_from(Job)
        .join(Revision, _LATEST_REVISION)
        .outerjoin(Run, _LATEST_RUN)
        .where(*fits)
        .group_by(_STATE)
    )
    counts = {kind.value: 0 for kind in JobState}
    counts.update((name, count) for name, count in session.execute(counted))
    wanted = joined if state is None else joined.where(_STATE.in_([state.value]))
    rows = session.execute(
        wanted.order_by(Job.updated.desc(), Job.id).limit(limit).offset(offset)
    ).all()
    views = _job_views(session, [(row[0], row[1], row[2], row[3]) for row in rows])
    return JobPage(
        jobs=tuple(views),
        counts=counts,
        total=sum(counts.values()) if state is None else counts[state.value],
        notices=notices(session),
    )


def job_view(session: Session, job_id: str) -> JobView:
    """One job. Raises NotFoundError."""
    row = session.execute(
        select(Job, Revision, Run, _STATE)
        .join(Revision, _LATEST_REVISION)
        .outerjoin(Run, _LATEST_RUN)
        .where(Job.id == job_id, Job.deleted.is_(False))
    ).one_or_none()
    if row is None:
        raise no_such_job(job_id)
    return _job_views(session, [(row[0], row[1], row[2], row[3])])[0]


def job_detail(session: Session, job_id: str) -> JobDetail:
    """One job with all that is known of it. Raises NotFoundError."""
    job = job_view(session, job_id)
    revisions = session.scalars(
        select(Revision).where(Revision.job_id == job_id).order_by(Revision.number.desc())
    )
    runs = session.scalars(
        select(Run).where(Run.job_id == job_id).order_by(Run.number.desc())
    ).all()
    events = session.scalars(select(Event).where(Event.job_id == job_id).order_by(Event.id))
    return JobDetail(
        job=job,
        revisions=tuple(_revision_view(revision) for revision in revisions),
        runs=tuple(_run_views(session, runs, with_spans=True)),
        log=tuple(EventView(at=event.at, text=event.text) for event in events),
    )


def run_view(session: Session, job_id: str, number: int) -> RunView:
    """One run with its spans."""
    run = session.scalars(select(Run).where(Run.job_id == job_id, Run.number == number)).one()
    return _run_views(session, [run], with_spans=True)[0]


def workers(session: Session) -> tuple[WorkerView, ...]:
    """Workers that reported within `WORKER_SECONDS`, by name."""
    rows = session.scalars(
        select(Worker)
        .where(Worker.last_seen > db_now() - WORKER_SECONDS)
        .order_by(Worker.name, Worker.host)
    )
    return tuple(
        WorkerView(
            name=row.name,
            host=row.host,
            device=row.device,
            last_seen=row.last_seen,
            doing=row.doing,
        )
        for row in rows
    )


def notices(session: Session) -> tuple[str, ...]:
    """All notices, as they were reported."""
    return tuple(session.scalars(select(Notice.text).order_by(Notice.source, Notice.line)))


def changes(session: Session, since: int) -> tuple[int, tuple[str, ...]]:
    """Ids of jobs that changed (or went) after the cursor `since`, and the new cursor."""
    rows = session.execute(
        select(Job.id, Job.changed).where(Job.changed > since).order_by(Job.changed)
    ).all()
    return (rows[-1][1] if rows else since), tuple(row[0] for row in rows)


def options_from(stored: Mapping[str, Any]) -> RunOptions:
    """The options of a run as its row keeps them; values unknown to this version are left out."""
    known = {field.name for field in fields(RunOptions)}
    values = {name: value for name, value in stored.items() if name in known}
    for name, kind in (("mode", Mode), ("direction", Direction), ("keyframes", KeyFrames)):
        if name in values:
            values[name] = kind(values[name])
    return RunOptions(**values)


def _job_views(
    session: Session, rows: Collection[tuple[Job, Revision, Run | None, str]]
) -> list[JobView]:
    runs = [run for _, _, run, _ in rows if run is not None]
    by_id = dict(
        zip((run.id for run in runs), _run_views(session, runs, with_spans=False), strict=True)
    )
    results: dict[str, list[int]] = {}
    for job_id, number in session.execute(
        select(Run.job_id, Run.number)
        .where(Run.job_id.in_([job.id for job, _, _, _ in rows]), Run.state == RunState.DONE.value)
        .order_by(Run.number.desc())
    ):
        results.setdefault(job_id, []).append(number)
    return [
        JobView(
            id=job.id,
            name=job.name,
            kind=revision.summary["kind"],
            cvat_id=revision.summary["cvat_id"],
            state=JobState(state),
            created=job.created,
            updated=job.updated,
            revision=_revision_view(revision),
            run=None if run is None else by_id[run.id],
            results=tuple(results.get(job.id, ())),
            reason=_reason(JobState(state), revision, run),
        )
        for job, revision, run, state in rows
    ]


def _reason(state: JobState, revision: Revision, run: Run | None) -> str:
    if state is not JobState.FAILED:
        return ""
    return revision.refused or (run.error if run is not None else "")


def _revision_view(revision: Revision) -> RevisionView:
    summary = revision.summary
    return RevisionView(
        number=revision.number,
        sha256=revision.sha256,
        bytes=revision.bytes,
        received=revision.received,
        has_images=summary["has_images"],
        frames=summary["frames"],
        first_frame=summary["first_frame"],
        last_frame=summary["last_frame"],
        step=summary["step"],
        width=summary["width"],
        height=summary["height"],
        key_frames=tuple(summary["key_frames"]),
        labels=tuple(LabelView(**label) for label in summary["labels"]),
        warnings=tuple(summary["warnings"]),
        refused=revision.refused,
    )


def _run_views(session: Session, runs: Collection[Run], *, with_spans: bool) -> list[RunView]:
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
            select(Span).where(Span.run_id.in_(ids)).order_by(Span.run_id, Span.ordinal)
        ):
            spans.setdefault(span.run_id, []).append(_span_view(span))
    now = session.scalars(select(db_now())).one() if runs else 0.0
    return [
        _run_view(
            run,
            progress.get(run.id, _Progress(0, ())),
            run.id in learning,
            tuple(spans.get(run.id, ())),
            now,
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
    run: Run, progress: _Progress, learning: bool, spans: tuple[SpanView, ...], now: float
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
        frames_per_second=speed,
        eta_seconds=left / speed if running and speed > 0 else None,
        workers=progress.workers,
        spans=spans,
        result_bytes=run.result_bytes,
        result_sha256=run.result_sha256,
        error=run.error,
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
