"""Changes to jobs, revisions and runs: what happens inside one write transaction.

Every function takes the session of a `Database.write()` block. Whatever a reader could see goes
through `touch`, so that `changes` tells every reader about it exactly in the order of commits.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from hashlib import sha256
from typing import Any

from sqlalchemy import case, delete, select, update
from sqlalchemy.orm import Session

from errors import ConflictError, NotFoundError
from jobs.db import db_now
from jobs.models import (
    ASSEMBLE,
    LEARN,
    LEARN_ORDINAL,
    Counter,
    Event,
    Job,
    Notice,
    Revision,
    Run,
    Span,
)
from jobs.plan import RunPlan
from jobs.views import RunOptions, RunState, SpanState

ACTIVE = (RunState.QUEUED.value, RunState.RUNNING.value)

MAX_NOTICES = 20  # of one source

_PLAIN_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")


def job_id_for(stem: str) -> str:
    """The job's id for an archive's name without its ending: safe in URLs and as a folder.

    A plain name stays itself; any other becomes a slug and 8 hexadecimal digits of its hash, so
    that different names never meet.
    """
    if _PLAIN_ID.fullmatch(stem) and ".." not in stem and not stem.endswith("."):
        return stem
    slug = re.sub(r"[^A-Za-z0-9_-]+", "-", stem).strip("-_")[:48] or "job"
    return f"{slug}-{sha256(stem.encode('utf-8', 'surrogatepass')).hexdigest()[:8]}"


def touch(session: Session, job_id: str, *, log: str = "", progress: bool = False) -> None:
    """Tell readers that a job changed; call it last in a transaction.

    `log`: a line for the job's history. `progress`: only frames went on, so that the job keeps its
    place among the jobs. Since writers take turns, numbers become visible in ascending order.
    """
    if log:
        session.add(Event(job_id=job_id, at=now(session), text=log))
    session.flush()
    changed = session.execute(
        update(Counter)
        .where(Counter.name == "changed")
        .values(value=Counter.value + 1)
        .returning(Counter.value)
    ).scalar_one()
    values: dict[str, Any] = {"changed": changed}
    if not progress:
        values["updated"] = db_now()
    session.execute(
        update(Job)
        .where(Job.id == job_id)
        .values(values)
        .execution_options(synchronize_session=False)
    )


def get_job(session: Session, job_id: str) -> Job:
    """The job's row. Raises NotFoundError."""
    job = session.get(Job, job_id)
    if job is None or job.deleted:
        raise no_such_job(job_id)
    return job


def no_such_job(job_id: str) -> NotFoundError:
    """The error for a job's id that names none."""
    return NotFoundError(f'There is no job "{job_id}": see `relay jobs` or the dashboard.')


@dataclass(frozen=True, slots=True, kw_only=True)
class Received:
    """An export that lies whole on disk; `refused` is the sentence or empty."""

    job_id: str
    name: str  # without its ending
    source: str  # with its ending
    sha256: str
    bytes: int
    refused: str
    summary: dict[str, Any]
    file: str  # the name it is to get in the revision's folder; empty when refused


def claim_job_row(session: Session, job_id: str, name: str) -> Job:
    """The row of a job that may be new, or deleted before."""
    job = session.get(Job, job_id)
    if job is None:
        at = now(session)
        job = Job(id=job_id, name=name, created=at, updated=at, revision=0, runs_made=0)
        session.add(job)
        session.flush()
    elif job.deleted:
        job.deleted, job.created, job.name = False, now(session), name
    return job


def latest_revision(session: Session, job: Job) -> Revision | None:
    """The latest revision that still exists."""
    return session.get(Revision, (job.id, job.revision)) if job.revision else None


def add_revision(session: Session, job: Job, received: Received, taken: int = 0) -> int:
    """Record a new revision; the job waits for a start again. Returns its number.

    `taken`: the largest number for which there are files already (see `JobFiles.last_revision`).
    """
    job.revision = max(job.revision, taken) + 1
    job.run = None
    session.add(
        Revision(
            job_id=job.id,
            number=job.revision,
            sha256=received.sha256,
            bytes=received.bytes,
            received=now(session),
            source=received.source,
            file=received.file,
            refused=received.refused,
            summary=received.summary,
        )
    )
    text = f"Revision {job.revision} received ({received.source})."
    if received.refused:
        text = f"Revision {job.revision} ({received.source}) refused: {received.refused}"
    touch(session, job.id, log=text)
    return job.revision


def images_revision(session: Session, job_id: str, summary: dict[str, Any]) -> int | None:
    """The latest revision whose images fit an export that came without.

    They fit when the frame range, the step and the size are the same.
    """
    keys = ("first_frame", "last_frame", "step", "frames")
    found = session.scalars(
        select(Revision)
        .where(Revision.job_id == job_id, Revision.refused == "")
        .order_by(Revision.number.desc())
    )
    for revision in found:
        other = revision.summary
        sizes = (summary["width"], summary["height"]), (other["width"], other["height"])
        same_size = sizes[0] == sizes[1] or 0 in sizes[0]
        if other["has_images"] and same_size and all(other[k] == summary[k] for k in keys):
            return revision.number
    return None


def published_run(session: Session, job_id: str, number: int | None = None) -> Run | None:
    """The run of that number if its result is published; without a number the latest such run."""
    wanted = select(Run).where(Run.job_id == job_id, Run.state == RunState.DONE.value)
    if number is not None:
        wanted = wanted.where(Run.number == number)
    return session.scalars(wanted.order_by(Run.number.desc()).limit(1)).one_or_none()


@dataclass(frozen=True, slots=True, kw_only=True)
class NewRun:
    """A planned run that is to be queued."""

    revision: int
    images_revision: int
    previous_run: int | None
    options: RunOptions
    engine: str
    ignore_labels: frozenset[str]
    plan: RunPlan


def refuse_second_run(session: Session, job: Job) -> None:
    """Raise ConflictError when a run of the job's latest revision is queued or running."""
    run = current_run(session, job)
    if run is not None and run.state in ACTIVE:
        raise ConflictError(
            f"Run {run.number} of job {job.id} is {run.state}: wait for it or cancel it first."
        )


def add_run(session: Session, job: Job, new: NewRun, taken: int = 0) -> int:
    """Queue a run: learning, all its spans, and the writing of its result. Returns its number.

    `taken`: the largest number for which there are files already (see `JobFiles.last_run`).
    """
    job.runs_made = max(job.runs_made, taken) + 1
    job.run = job.runs_made
    run = Run(
        job_id=job.id,
        number=job.run,
        revision=new.revision,
        images_revision=new.images_revision,
        previous_run=new.previous_run,
        state=RunState.QUEUED.value,
        options=asdict(new.options),
        engine=new.engine,
        ignore_labels=sorted(new.ignore_labels),
        parallel_spans=new.options.parallel_spans,
        plan=new.plan.to_json(),
        frames_total=new.plan.frames_total,
        created=now(session),
    )
    session.add(run)
    session.flush()
    session.add_all(_spans_of(session, job, run, new.plan))
    many = len(new.plan.spans)
    touch(
        session,
        job.id,
        log=f"Run {run.number} queued: {new.plan.frames_total} frames to compute in "
        f"{many} span{'' if many == 1 else 's'}.",
    )
    return run.number


def _spans_of(session: Session, job: Job, run: Run, plan: RunPlan) -> list[Span]:
    """The spans of the plan; before them that of learning, after them that of the result."""
    first, last = _range_of(session, job)
    rows = [
        (span.ordinal, span.start, span.stop, str(span.direction), span.frames_total)
        for span in plan.spans
    ]
    if rows:
        rows.insert(0, (LEARN_ORDINAL, first, last, LEARN, 0))
    rows.append((len(plan.spans), first, last, ASSEMBLE, 0))
    return [
        Span(
            run_id=run.id,
            ordinal=ordinal,
            start=start,
            stop=stop,
            direction=direction,
            state=SpanState.QUEUED.value,
            frames_total=frames,
        )
        for ordinal, start, stop, direction, frames in rows
    ]


def cancel_runs(session: Session, job: Job) -> None:
    """Stop all runs of a job. Raises ConflictError when none is queued or running.

    A raised fence is what stops a worker: its next heartbeat finds that the lease is not its own.
    """
    runs = session.scalars(select(Run).where(Run.job_id == job.id, Run.state.in_(ACTIVE))).all()
    if not runs:
        raise ConflictError(f"Nothing of job {job.id} is queued or running.")
    for run in runs:
        run.state = RunState.CANCELLED.value
        run.finished = now(session)
        run.error = "A person cancelled this run; finished spans are kept for a retry."
    release_leases(session, [run.id for run in runs])
    touch(session, job.id, log=f"Run {runs[-1].number} cancelled.")


def release_leases(session: Session, run_ids: Sequence[int]) -> None:
    """Take all leases of these runs away from their workers."""
    session.execute(
        update(Span)
        .where(Span.run_id.in_(run_ids), Span.state == SpanState.LEASED.value)
        .values(state=SpanState.QUEUED.value, fence=Span.fence + 1, lease_until=None)
        .execution_options(synchronize_session=False)
    )


def retry_run(session: Session, job: Job, lost_files: Sequence[int]) -> int:
    """Queue again what a failed or cancelled run did not finish. Returns the run's number.

    `lost_files`: ordinals of finished spans whose file is gone. Raises ConflictError.
    """
    run = current_run(session, job)
    revision = latest_revision(session, job)
    if revision is not None and revision.refused:
        raise ConflictError(f"The export of job {job.id} was refused: {revision.refused}")
    if run is None or run.state not in (RunState.FAILED.value, RunState.CANCELLED.value):
        raise ConflictError(
            f"Job {job.id} has no failed or cancelled run: there is nothing to retry."
        )
    run.state = RunState.QUEUED.value
    run.error, run.finished = "", None
    # The result is always written anew: it is quick, and its span may have found the fault.
    session.execute(
        update(Span)
        .where(
            Span.run_id == run.id,
            (Span.state != SpanState.DONE.value)
            | (Span.direction == ASSEMBLE)
            | Span.ordinal.in_(lost_files),
        )
        .values(
            state=SpanState.QUEUED.value,
            attempts=0,
            frames_done=case((Span.ordinal.in_(lost_files), 0), else_=Span.frames_done),
            fence=Span.fence + 1,
            lease_until=None,
            error="",
        )
        .execution_options(synchronize_session=False)
    )
    touch(session, job.id, log=f"Run {run.number} queued again; finished spans are kept.")
    return run.number


def delete_job(session: Session, job: Job) -> None:
    """Forget a job; what is left of its row only tells readers that it is gone."""
    session.execute(delete(Run).where(Run.job_id == job.id))
    session.execute(delete(Revision).where(Revision.job_id == job.id))
    session.execute(delete(Event).where(Event.job_id == job.id))
    job.deleted, job.run = True, None
    touch(session, job.id)


def set_notices(session: Session, source: str, texts: Sequence[str]) -> None:
    """Replace all notices of one source (see `fewer_notices`)."""
    session.execute(delete(Notice).where(Notice.source == source))
    session.add_all(
        Notice(source=source, line=number, text=text)
        for number, text in enumerate(fewer_notices(texts))
    )


def fewer_notices(texts: Sequence[str]) -> list[str]:
    """The first notices, and how many more there are: a page is for people."""
    if len(texts) <= MAX_NOTICES:
        return list(texts)
    return [*texts[:MAX_NOTICES], f"And {len(texts) - MAX_NOTICES} more."]


def notices_of(session: Session, source: str) -> list[str]:
    """What one source has to say."""
    return list(
        session.scalars(select(Notice.text).where(Notice.source == source).order_by(Notice.line))
    )


def current_run(session: Session, job: Job) -> Run | None:
    """The latest run on the latest revision."""
    if job.run is None:
        return None
    return session.scalars(
        select(Run).where(Run.job_id == job.id, Run.number == job.run)
    ).one_or_none()


def _range_of(session: Session, job: Job) -> tuple[int, int]:
    revision = latest_revision(session, job)
    assert revision is not None
    return revision.summary["first_frame"], revision.summary["last_frame"]


def now(session: Session) -> float:
    """The database's time, in seconds since the epoch."""
    return session.scalars(select(db_now())).one()
