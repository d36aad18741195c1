"""Claiming, renewing, finishing and handing back spans: the queue itself.

A claim gives out a lease that ends unless it is renewed, and a fence number that grows with every
claim (and with every cancellation). Whoever renews or finishes names the fence: a worker that was
given up meanwhile finds that its lease is gone, and what it brings is refused. All times are the
database's.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from sqlalchemy import Case, case, delete, func, select, update
from sqlalchemy.orm import Session, aliased

from errors import one_line
from jobs.db import db_now
from jobs.models import ASSEMBLE, LEARN, Run, Span, Worker
from jobs.store import ACTIVE, now, touch
from jobs.views import RunState, SpanState

LEASE_SECONDS = 10.0  # without a heartbeat for so long, a span goes back
HEARTBEAT_SECONDS = 2.0
MAX_ATTEMPTS = 4  # claims of one span before it is given up
VANISHED = "its worker stopped without a word (killed, out of memory, or cut off)"

_QUIET = {"synchronize_session": False}


@dataclass(frozen=True, slots=True, kw_only=True)
class Lease:
    """The right to work on one span, for as long as `fence` is its newest number."""

    span_id: int
    fence: int
    run_id: int
    ordinal: int
    start: int
    stop: int
    direction: str
    attempts: int  # this one included
    job_id: str
    revision: int
    run_number: int

    @property
    def writes_result(self) -> bool:
        """Whether this is the last span of a run, which writes the result."""
        return self.direction == ASSEMBLE

    @property
    def learns(self) -> bool:
        """Whether this is the first span of a run, in which the engine learns the objects."""
        return self.direction == LEARN

    @property
    def what(self) -> str:
        """What is to be done, in words."""
        if self.learns:
            return "learning the objects"
        return "writing the result" if self.writes_result else f"frames {self.start} to {self.stop}"

    @property
    def doing(self) -> str:
        """What people read while it is worked on."""
        return f"job {self.job_id}, {self.what}"


def claim(session: Session, worker: str, lease_seconds: float = LEASE_SECONDS) -> Lease | None:
    """Take the next span that may be worked on; None when there is none.

    Older runs come first. A run that limits its parallel spans never has more of them leased;
    nothing of a run begins before its engine has learned; the result is written when all other
    spans of the run are done.
    """
    other = aliased(Span)
    in_run = select(func.count()).select_from(other).where(other.run_id == Span.run_id)
    leased = in_run.where(other.state == SpanState.LEASED.value).scalar_subquery()
    undone = in_run.where(
        other.direction != ASSEMBLE, other.state != SpanState.DONE.value
    ).scalar_subquery()
    unlearned = in_run.where(
        other.direction == LEARN, other.state != SpanState.DONE.value
    ).scalar_subquery()
    claimable = (
        select(Span.id)
        .join(Run, Run.id == Span.run_id)
        .where(
            Span.state == SpanState.QUEUED.value,
            Run.state.in_(ACTIVE),
            (Run.parallel_spans == 0) | (leased < Run.parallel_spans),
            (Span.direction == LEARN) | (unlearned == 0),
            (Span.direction != ASSEMBLE) | (undone == 0),
        )
        .order_by(Span.run_id, Span.ordinal)
        .limit(1)
        .with_for_update(of=Span, skip_locked=True)
    )
    row = session.execute(
        update(Span)
        .where(Span.id == claimable.scalar_subquery())
        .values(
            state=SpanState.LEASED.value,
            fence=Span.fence + 1,
            attempts=Span.attempts + 1,
            lease_until=db_now() + lease_seconds,
            worker=worker,
        )
        .returning(
            Span.id,
            Span.fence,
            Span.run_id,
            Span.ordinal,
            Span.start,
            Span.stop,
            Span.direction,
            Span.attempts,
        )
        .execution_options(**_QUIET)
    ).one_or_none()
    if row is None:
        return None
    run = session.get_one(Run, row.run_id)
    begins = run.state == RunState.QUEUED.value
    if begins:
        run.state = RunState.RUNNING.value
        run.resumed = now(session)
        run.started = run.started or run.resumed
        run.frames_before = session.execute(
            select(func.coalesce(func.sum(Span.frames_done), 0)).where(
                Span.run_id == run.id, Span.direction != ASSEMBLE
            )
        ).scalar_one()
    lease = Lease(
        span_id=row.id,
        fence=row.fence,
        run_id=row.run_id,
        ordinal=row.ordinal,
        start=row.start,
        stop=row.stop,
        direction=row.direction,
        attempts=row.attempts,
        job_id=run.job_id,
        revision=run.revision,
        run_number=run.number,
    )
    touch(session, run.job_id, log=f"Run {run.number} begins on {worker}." if begins else "")
    return lease


def renew(
    session: Session, lease: Lease, frames_done: int, lease_seconds: float = LEASE_SECONDS
) -> bool:
    """Prolong a lease and report its progress. False when it is no longer ours."""
    moved = _update_held(
        session,
        lease,
        lease_until=db_now() + lease_seconds,
        frames_done=_at_least(frames_done),
    )
    if moved:
        touch(session, lease.job_id, progress=True)
    return moved


def finish_span(
    session: Session,
    lease: Lease,
    *,
    file: str,
    seconds: float,
    stages: dict[str, float],
    device: str,
) -> bool:
    """Record a computed span. False, and nothing is recorded, when the lease is no longer ours.

    `file`: its name in the run's spans folder; empty where the engine had nothing to learn.
    """
    done = _update_held(
        session,
        lease,
        state=SpanState.DONE.value,
        lease_until=None,
        frames_done=Span.frames_total,
        file=file,
        seconds=seconds,
        stages=stages,
        device=device,
        error="",
    )
    if done:
        if lease.learns:  # a run's speed, and the time left, are those of its frames
            session.get_one(Run, lease.run_id).resumed = now(session)
        touch(session, lease.job_id)
    return done


def finish_run(
    session: Session, lease: Lease, *, sha256: str, size: int, seconds: float, device: str
) -> bool:
    """Record the published result. False when the lease is no longer ours."""
    done = _update_held(
        session,
        lease,
        state=SpanState.DONE.value,
        lease_until=None,
        seconds=seconds,
        device=device,
        error="",
    )
    if not done:
        return False
    run = session.get_one(Run, lease.run_id)
    run.state = RunState.DONE.value
    run.finished = now(session)
    run.result_sha256, run.result_bytes = sha256, size
    run.delete_zip_due = bool(run.options.get("delete_zip"))
    run.error = ""
    touch(session, lease.job_id, log=f"Run {lease.run_number} completed: the result is published.")
    return True


def hand_back(session: Session, lease: Lease, frames_done: int) -> bool:
    """Give a span back unharmed, for instance because this worker is asked to stop."""
    back = _update_held(
        session,
        lease,
        state=SpanState.QUEUED.value,
        lease_until=None,
        attempts=Span.attempts - 1,
        frames_done=_at_least(frames_done),
    )
    if back:
        touch(session, lease.job_id, log=f"Handed back: {lease.what}.")
    return back


def fail_attempt(session: Session, lease: Lease, error: str) -> bool:
    """Record an attempt that ended in an error of ours; the last one fails the run."""
    return _give_up(session, lease, error, finally_=lease.attempts >= MAX_ATTEMPTS)


def refuse(session: Session, lease: Lease, sentence: str) -> bool:
    """Fail the run at once: a person has to mend what `sentence` names."""
    if not _update_held(
        session, lease, state=SpanState.FAILED.value, lease_until=None, error=sentence
    ):
        return False
    _fail_run(session, lease.run_id, sentence)
    return True


def return_expired(session: Session) -> int:
    """Put spans whose lease ended back into the queue (or give them up); returns how many."""
    rows = session.execute(
        select(Span, Run)
        .join(Run, Run.id == Span.run_id)
        .where(Span.state == SpanState.LEASED.value, Span.lease_until < db_now())
    ).all()
    for span, run in rows:
        _give_up(session, _lease_of(span, run), VANISHED, finally_=span.attempts >= MAX_ATTEMPTS)
    return len(rows)


def anything_to_do(session: Session) -> bool:
    """Whether a claim, or the return of an expired lease, could find something; reads only."""
    wanted = (
        select(Span.id)
        .join(Run, Run.id == Span.run_id)
        .where(
            ((Span.state == SpanState.QUEUED.value) & Run.state.in_(ACTIVE))
            | ((Span.state == SpanState.LEASED.value) & (Span.lease_until < db_now()))
        )
        .limit(1)
    )
    return session.scalars(wanted).one_or_none() is not None


def report(session: Session, *, name: str, host: str, device: str, doing: str) -> None:
    """Say that a worker lives and what it does."""
    session.merge(Worker(name=name, host=host, device=device, doing=doing, last_seen=now(session)))


def sign_off(session: Session, *, name: str, host: str) -> None:
    """Forget a worker that stopped in good order."""
    session.execute(delete(Worker).where(Worker.name == name, Worker.host == host))


def _at_least(frames_done: int) -> Case[int]:
    """Progress never goes back, not even when a successor starts a pass anew."""
    return case((Span.frames_done > frames_done, Span.frames_done), else_=frames_done)


def _update_held(session: Session, lease: Lease, **values: Any) -> bool:
    """Change the span if, and only if, the lease is still the newest."""
    changed = session.execute(
        update(Span)
        .where(
            Span.id == lease.span_id,
            Span.fence == lease.fence,
            Span.state == SpanState.LEASED.value,
        )
        .values(**values)
        .returning(Span.id)
        .execution_options(**_QUIET)
    ).one_or_none()
    return changed is not None


def _give_up(session: Session, lease: Lease, error: str, *, finally_: bool) -> bool:
    state = SpanState.FAILED if finally_ else SpanState.QUEUED
    if not _update_held(session, lease, state=state.value, lease_until=None, error=error):
        return False
    if finally_:
        _fail_run(
            session,
            lease.run_id,
            one_line(
                f"Gave up after {lease.attempts} attempts ({lease.what}): {error}. Finished spans "
                f"are kept: see the worker's log, then retry."
            ),
        )
    else:
        touch(
            session,
            lease.job_id,
            log=one_line(f"Attempt {lease.attempts} ({lease.what}): {error}."),
        )
    return True


def _fail_run(session: Session, run_id: int, sentence: str) -> None:
    run = session.get_one(Run, run_id)
    if run.state not in ACTIVE:
        touch(session, run.job_id)
        return
    run.state, run.error, run.finished = RunState.FAILED.value, sentence, now(session)
    touch(session, run.job_id, log=f"Run {run.number} failed: {sentence}")


def _lease_of(span: Span, run: Run) -> Lease:
    return Lease(
        span_id=span.id,
        fence=span.fence,
        run_id=span.run_id,
        ordinal=span.ordinal,
        start=span.start,
        stop=span.stop,
        direction=span.direction,
        attempts=span.attempts,
        job_id=run.job_id,
        revision=run.revision,
        run_number=run.number,
    )
