"""Changes to runs: queued, paused, resumed, cancelled and queued again.

As in `jobs.store`, every function takes the session of a `Database.write()` block.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass

from sqlalchemy import case, select, update
from sqlalchemy.orm import Session

from errors import ConflictError
from jobs.models import ASSEMBLE, LEARN, LEARN_ORDINAL, Job, Run, Span
from jobs.options import RunOptions
from jobs.plan import RunPlan
from jobs.store import current_run, latest_revision, now, touch
from jobs.turns import ACTIVE, settle
from jobs.views import RunState, SpanState

MOST_NOTICES = 20  # of one run
UNFINISHED = (*ACTIVE, RunState.PAUSED.value)
"""States of a run that stand in the way of another run of the same job."""


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
    """Raise ConflictError when a run of the job's latest revision is queued, running or paused."""
    run = current_run(session, job)
    if run is not None and run.state in UNFINISHED:
        instead = "resume" if run.state == RunState.PAUSED.value else "wait for"
        raise ConflictError(
            f"Run {run.number} of job {job.id} is {run.state}: {instead} it or cancel it first."
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
        priority=new.options.priority.rank,
        plan=new.plan.to_json(),
        frames_total=new.plan.frames_total,
        created=now(session),
    )
    session.add(run)
    session.flush()
    session.add_all(_spans_of(session, job, run, new.plan))
    settle(session, run.id)
    many = len(new.plan.spans)
    revision = latest_revision(session, job)
    frames = revision.summary["frames"] if revision is not None else 0
    touch(
        session,
        job.id,
        log=f"Run {run.number} queued: {new.plan.frames_total} of {frames} frames to compute in "
        f"{many} span{'' if many == 1 else 's'}.",
    )
    tell(session, run.id, new.plan.notes)
    return run.number


def tell(session: Session, run_id: int, notices: Sequence[str]) -> None:
    """Let people know something of a run: in its notices and the job's log, once each.

    At most `MOST_NOTICES` of one run are kept. A run that is gone is told nothing of.
    """
    run = session.get(Run, run_id) if notices else None
    if run is None:
        return
    fresh = [each for each in dict.fromkeys(notices) if each not in run.notices]
    fresh = fresh[: MOST_NOTICES - len(run.notices)]
    if fresh:
        run.notices = [*run.notices, *fresh]
    for each in fresh:
        touch(session, run.job_id, log=f"Run {run.number}: {each}")


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
    """Stop all runs of a job. Raises ConflictError when none is queued, running or paused."""
    runs = session.scalars(select(Run).where(Run.job_id == job.id, Run.state.in_(UNFINISHED))).all()
    if not runs:
        raise ConflictError(f"Nothing of job {job.id} is queued or running.")
    for run in runs:
        run.state = RunState.CANCELLED.value
        run.finished = now(session)
        run.error = "A person cancelled this run; finished frames are kept for a retry."
    release_leases(session, [run.id for run in runs])
    touch(session, job.id, log=f"Run {runs[-1].number} cancelled; finished frames are kept.")


def pause_run(session: Session, job: Job) -> None:
    """Let no worker go on with the job's run until it is resumed. Raises ConflictError."""
    run = _newest(session, job, *UNFINISHED)
    if run is not None and run.state == RunState.PAUSED.value:
        raise ConflictError(
            f"Run {run.number} of job {job.id} is paused already: `relay resume {job.id}` or the "
            "button Resume goes on."
        )
    if run is None:
        raise ConflictError(
            f"Nothing of job {job.id} is queued or running: there is no run to pause."
        )
    run.state = RunState.PAUSED.value
    release_leases(session, [run.id])
    touch(session, job.id, log=f"Run {run.number} paused; finished frames are kept.")


def drop_paused(session: Session, job: Job) -> None:
    """Cancel a paused run, since a new revision takes its place: nobody could find it any more."""
    run = _newest(session, job, RunState.PAUSED.value)
    if run is not None:
        run.state, run.finished = RunState.CANCELLED.value, now(session)
        run.error = "It was paused when a new revision arrived, and is cancelled."
        touch(session, job.id, log=f"Run {run.number} was paused and is cancelled: a new revision.")


def resume_run(session: Session, job: Job) -> int:
    """Go on with the job's paused run; returns its number. Raises ConflictError."""
    run = _newest(session, job, RunState.PAUSED.value)
    if run is None:
        raise ConflictError(f"Job {job.id} has no paused run: there is nothing to resume.")
    run.state = RunState.QUEUED.value
    settle(session, run.id)
    touch(session, job.id, log=f"Run {run.number} resumed.")
    return run.number


def _newest(session: Session, job: Job, *states: str) -> Run | None:
    """The job's newest run in one of these states, whatever revision it is of."""
    wanted = select(Run).where(Run.job_id == job.id, Run.state.in_(states))
    return session.scalars(wanted.order_by(Run.number.desc()).limit(1)).one_or_none()


def release_leases(session: Session, run_ids: Sequence[int]) -> None:
    """Take all leases of these runs away from their workers.

    A raised fence is what stops a worker: at its next frame it finds that the lease is not its own.
    """
    session.execute(
        update(Span)
        .where(Span.run_id.in_(run_ids), Span.state == SpanState.LEASED.value)
        .values(
            state=SpanState.QUEUED.value,
            fence=Span.fence + 1,
            attempts=Span.attempts - 1,  # nothing went wrong
            lease_until=None,
        )
        .execution_options(synchronize_session=False)
    )
    for run_id in run_ids:
        settle(session, run_id)


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
    settle(session, run.id)
    touch(session, job.id, log=f"Run {run.number} queued again; finished frames are kept.")
    return run.number


def _range_of(session: Session, job: Job) -> tuple[int, int]:
    revision = latest_revision(session, job)
    assert revision is not None
    return revision.summary["first_frame"], revision.summary["last_frame"]
