"""Reading: rows become the views that pages, API and CLI show."""

from __future__ import annotations

from collections.abc import Collection

from sqlalchemy import and_, func, select
from sqlalchemy.orm import Session

from jobs import label_text
from jobs.db import db_now
from jobs.look import Look, Sort
from jobs.models import Event, Job, Notice, Revision, Run, Worker
from jobs.run_views import run_views
from jobs.store import images_revision, no_such_job
from jobs.views import (
    EventView,
    JobDetail,
    JobPage,
    JobState,
    JobView,
    LabelView,
    RevisionView,
    RunState,
    RunView,
    WorkerView,
)

MOST_LABELS = 500  # to choose from
WORKER_SECONDS = 30.0  # a worker that said nothing for longer is not shown

_LATEST_REVISION = and_(Revision.job_id == Job.id, Revision.number == Job.revision)
_LATEST_RUN = and_(Run.job_id == Job.id, Run.number == Job.run)


def list_jobs(
    session: Session, look: Look, *, state: JobState | None, limit: int, offset: int
) -> JobPage:
    """One page of the jobs that fit."""
    counts = counts_by_state(session, look)
    rows = _rows(session, look, state, limit, offset)
    return JobPage(
        jobs=tuple(_job_views(session, rows)),
        counts=counts,
        total=sum(counts.values()) if state is None else counts[state.value],
        notices=notices(session),
    )


def list_boxes(session: Session, look: Look, *, limit: int) -> dict[JobState, JobPage]:
    """The first page of every state, from one look; running jobs come with the spans of their run.

    It does what five calls of `list_jobs` would, but counts the jobs once.
    """
    counts, told = counts_by_state(session, look), notices(session)
    rows = [
        row for kind in JobState
        if counts[kind.value]
        for row in _rows(session, look, kind, limit, 0)
    ]  # fmt: skip
    views = _job_views(session, rows, JobState.RUNNING)
    return {
        kind: JobPage(
            jobs=tuple(view for view in views if view.state is kind),
            counts=counts,
            total=counts[kind.value],
            notices=told,
        )
        for kind in JobState
    }


def job_view(session: Session, job_id: str) -> JobView:
    """One job. Raises NotFoundError."""
    row = session.execute(
        select(Job, Revision, Run)
        .join(Revision, _LATEST_REVISION)
        .outerjoin(Run, _LATEST_RUN)
        .where(Job.id == job_id, Job.deleted.is_(False))
    ).one_or_none()
    if row is None:
        raise no_such_job(job_id)
    return _job_views(session, [(row[0], row[1], row[2])])[0]


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
        runs=tuple(run_views(session, runs, [run.id for run in runs])),
        log=tuple(EventView(at=event.at, text=event.text) for event in events),
    )


def run_view(session: Session, job_id: str, number: int) -> RunView:
    """One run with its spans."""
    run = session.scalars(select(Run).where(Run.job_id == job_id, Run.number == number)).one()
    return run_views(session, [run], [run.id])[0]


def workers(session: Session, within: float = WORKER_SECONDS) -> tuple[WorkerView, ...]:
    """Workers that reported `within` so many seconds, by name."""
    rows = session.scalars(
        select(Worker)
        .where(Worker.last_seen > db_now() - within)
        .order_by(Worker.name, Worker.host)
    )
    return tuple(
        WorkerView(
            name=row.name,
            host=row.host,
            device=row.device,
            last_seen=row.last_seen,
            doing=row.doing,
            trouble=row.trouble,
            gpu_bytes=row.gpu_bytes,
            gpu_bytes_total=row.gpu_bytes_total,
            memory_bytes=row.memory_bytes,
            engines=tuple(row.engines),
        )
        for row in rows
    )


def notices(session: Session) -> tuple[str, ...]:
    """All notices, as they were reported."""
    return tuple(session.scalars(select(Notice.text).order_by(Notice.source, Notice.line)))


def labels(session: Session) -> tuple[str, ...]:
    """The labels that are drawn in any job, by name."""
    texts = session.scalars(select(Job.labels).where(Job.deleted.is_(False)).distinct())
    found = {label for text in texts for label in label_text.read(text)}
    return tuple(sorted(found, key=lambda label: (label.casefold(), label))[:MOST_LABELS])


def changes(session: Session, since: int) -> tuple[int, tuple[str, ...]]:
    """Ids of jobs that changed (or went) after the cursor `since`, and the new cursor."""
    rows = session.execute(
        select(Job.id, Job.changed).where(Job.changed > since).order_by(Job.changed)
    ).all()
    return (rows[-1][1] if rows else since), tuple(row[0] for row in rows)


def counts_by_state(session: Session, look: Look) -> dict[str, int]:
    """How many jobs there are in each state, also in those without one."""
    counts = {kind.value: 0 for kind in JobState}
    wanted = select(Job.state, func.count()).where(*look.fits()).group_by(Job.state)
    counts.update((state, count) for state, count in session.execute(wanted))
    return counts


def _rows(
    session: Session, look: Look, state: JobState | None, limit: int, offset: int
) -> list[tuple[Job, Revision, Run | None]]:
    """Jobs that fit, in order, with their latest revisions and runs.

    The page is cut before anything is joined to it, where the order allows.
    """
    cut = select(Job.id).where(*look.fits())
    if state is not None:
        cut = cut.where(Job.state == state.value)
    if look.sort in (Sort.FRAMES, Sort.DOUBT, Sort.REPAIR):
        cut = cut.join(Revision, _LATEST_REVISION).outerjoin(Run, _LATEST_RUN)
    page = cut.order_by(*look.order()).limit(limit).offset(offset).subquery()
    rows = session.execute(
        select(Job, Revision, Run)
        .join(page, page.c.id == Job.id)
        .join(Revision, _LATEST_REVISION)
        .outerjoin(Run, _LATEST_RUN)
        .order_by(*look.order())
    )
    return [(row[0], row[1], row[2]) for row in rows]


def _job_views(
    session: Session,
    rows: Collection[tuple[Job, Revision, Run | None]],
    spans_of: JobState | None = None,
) -> list[JobView]:
    runs = [run for _, _, run in rows if run is not None]
    with_spans = {
        run.id for job, _, run in rows if run and spans_of and job.state == spans_of.value
    }
    by_id = dict(zip((run.id for run in runs), run_views(session, runs, with_spans), strict=True))
    results: dict[str, list[int]] = {}
    for job_id, number in session.execute(
        select(Run.job_id, Run.number)
        .where(Run.job_id.in_([job.id for job, _, _ in rows]), Run.state == RunState.DONE.value)
        .order_by(Run.number.desc())
    ):
        results.setdefault(job_id, []).append(number)
    return [
        JobView(
            id=job.id,
            name=job.name,
            kind=revision.summary["kind"],
            cvat_id=revision.summary["cvat_id"],
            state=JobState(job.state),
            created=job.created,
            updated=job.updated,
            revision=_revision_view(revision),
            run=None if run is None else by_id[run.id],
            results=tuple(results.get(job.id, ())),
            has_images=_has_images(session, revision),
            reason=_reason(job, revision, run),
        )
        for job, revision, run in rows
    ]


def _has_images(session: Session, revision: Revision) -> bool:
    if revision.summary["has_images"] or revision.number == 1 or revision.refused:
        return bool(revision.summary["has_images"])
    return images_revision(session, revision.job_id, revision.summary) is not None


def _reason(job: Job, revision: Revision, run: Run | None) -> str:
    if job.state != JobState.FAILED.value:
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
