"""Claiming, renewing, finishing and handing back spans: the queue itself.

A claim gives out a lease that ends unless it is renewed, and a fence number that grows with every
claim (and with every cancellation). Whoever renews or finishes names the fence: a worker that was
given up meanwhile finds that its lease is gone, and what it brings is refused. All times are the
database's.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, NamedTuple

from sqlalchemy import Case, ColumnElement, case, exists, func, or_, select, update
from sqlalchemy.orm import Session

from errors import one_line
from jobs import tally, turns
from jobs.db import db_now
from jobs.models import ASSEMBLE, LEARN, Run, Span
from jobs.report import NextFrame
from jobs.store import now, touch
from jobs.views import RunState, SpanState

LEASE_SECONDS = 10.0  # without a heartbeat for so long, a span goes back
HEARTBEAT_SECONDS = 2.0
MAX_ATTEMPTS = 4  # claims of one span before it is given up, unless a setting says otherwise
VANISHED = "its worker stopped without a word (killed, out of memory, or cut off)"

_LONGEST_LEASE = 60.0  # seconds; no lease is made for longer
_QUIET = {"synchronize_session": False}
_LEASE_COLUMNS = (
    Span.id,
    Span.fence,
    Span.run_id,
    Span.ordinal,
    Span.start,
    Span.stop,
    Span.direction,
    Span.attempts,
)


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

    `jobs.turns` says whose turn it is. A run that limits its parallel spans never has more of them
    leased; nothing of a run begins before its engine has learned; the result is written when all
    other spans of the run are done.
    """
    claims = tally.add(session, tally.ATTEMPTS)
    while (run_id := turns.next_run(session, claims=claims)) is not None:
        span_id = turns.next_span(session, run_id, lock=True)
        if span_id is not None:
            return _lease_out(session, span_id, worker, lease_seconds)
        if turns.settle(session, run_id):  # somebody else holds the row of its next span
            break
    tally.add(session, tally.ATTEMPTS, -1)
    return None


def _lease_out(session: Session, span_id: int, worker: str, lease_seconds: float) -> Lease:
    """Give out the lease of a span that may be claimed."""
    span = session.execute(
        update(Span)
        .where(Span.id == span_id)
        .values(
            state=SpanState.LEASED.value,
            fence=Span.fence + 1,
            attempts=Span.attempts + 1,
            lease_until=db_now() + lease_seconds,
            worker=worker,
        )
        .returning(*_LEASE_COLUMNS)
        .execution_options(**_QUIET)
    ).one()
    run = session.get_one(Run, span.run_id)
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
    turns.settle(session, run.id, served=True)
    touch(session, run.job_id, log=f"Run {run.number} begins on {worker}." if begins else "")
    return _lease_of(span, run)


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
    frames: int = 0,
) -> bool:
    """Record a computed span. False, and nothing is recorded, when the lease is no longer ours.

    `file`: its name in the run's spans folder; empty where the engine had nothing to learn.
    `frames`: how many of its frames this very attempt computed.
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
        tally.add_span(session, seconds)
        tally.add(session, tally.FRAMES, frames)
        turns.settle(session, lease.run_id)
        if lease.learns:  # a run's speed, and the time left, are those of its frames
            session.get_one(Run, lease.run_id).resumed = now(session)
        touch(session, lease.job_id)
    return done or _too_late(session)


def finish_run(
    session: Session,
    lease: Lease,
    *,
    sha256: str,
    size: int,
    seconds: float,
    device: str,
    flagged_frames: int | None = None,
    next_frame: NextFrame | None = None,
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
        return _too_late(session)
    tally.add_span(session, seconds)
    run = session.get_one(Run, lease.run_id)
    run.state = RunState.DONE.value
    run.finished = now(session)
    run.result_sha256, run.result_bytes = sha256, size
    run.flagged_frames = flagged_frames
    run.next_frame = None if next_frame is None else {**next_frame}
    run.delete_zip_due = bool(run.options.get("delete_zip"))
    run.error = ""
    turns.settle(session, run.id)
    touch(session, lease.job_id, log=f"Run {lease.run_number} completed: the result is published.")
    return True


def hand_back(session: Session, lease: Lease, frames_done: int) -> bool:
    """Give a span back unharmed: this worker is asked to stop, or cannot go on just now."""
    back = _update_held(
        session,
        lease,
        state=SpanState.QUEUED.value,
        lease_until=None,
        attempts=Span.attempts - 1,
        frames_done=_at_least(frames_done),
    )
    if back:
        turns.settle(session, lease.run_id)
        touch(session, lease.job_id, log=f"Handed back: {lease.what}.")
    return back


def fail_attempt(
    session: Session, lease: Lease, error: str, max_attempts: int = MAX_ATTEMPTS
) -> bool:
    """Record an attempt that ended in an error of ours; the last one fails the run."""
    return _give_up(session, lease, error, finally_=lease.attempts >= max_attempts)


def refuse(session: Session, lease: Lease, sentence: str) -> bool:
    """Fail the run at once: a person has to mend what `sentence` names."""
    if not _update_held(
        session, lease, state=SpanState.FAILED.value, lease_until=None, error=sentence
    ):
        return False
    _fail_run(session, lease.run_id, sentence)
    turns.settle(session, lease.run_id)
    return True


def return_expired(session: Session, max_attempts: int = MAX_ATTEMPTS) -> int:
    """Put spans whose lease ended back into the queue (or give them up); returns how many."""
    rows = session.execute(
        select(Span, Run)
        .join(Run, Run.id == Span.run_id)
        .where(Span.state == SpanState.LEASED.value, _has_ended())
    ).all()
    for span, run in rows:
        tally.add(session, tally.LEASE_EXPIRIES)
        _give_up(session, _lease_of(span, run), VANISHED, finally_=span.attempts >= max_attempts)
    turns.mend(session)
    return len(rows)


class Look(NamedTuple):
    """What a look at the queue found. `now`: the database's time, in seconds since the epoch."""

    anything: bool  # a claim could find something, once `return_expired` ran
    busy: bool  # some run is being worked on: more may be claimable at any moment
    now: float


def look(session: Session) -> Look:
    """Whether there is anything to do; reads only."""
    expired = exists().where(Span.state == SpanState.LEASED.value, _has_ended())
    anything = exists().where(Run.open) | expired | turns.stuck()
    busy = exists().where(Run.state.in_(turns.ACTIVE))
    row = session.execute(select(anything, busy, db_now())).one()
    return Look(bool(row[0]), bool(row[1]), row[2])


def is_held(session: Session, lease: Lease) -> bool:
    """Whether a lease is still the newest; reads only."""
    found = session.scalars(
        select(Span.fence).where(Span.id == lease.span_id, Span.state == SpanState.LEASED.value)
    ).one_or_none()
    return found == lease.fence


def _has_ended() -> ColumnElement[bool]:
    """Whether a leased span's time is over.

    Nobody's lease lasts for minutes: one that does was given out before the database's clock was
    set back, and by somebody who has not renewed it since.
    """
    return or_(Span.lease_until < db_now(), Span.lease_until > db_now() + _LONGEST_LEASE)


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


def _too_late(session: Session) -> bool:
    """Count a commit that came after its lease was gone; always False."""
    tally.add(session, tally.LATE_COMMITS)
    return False


def _give_up(session: Session, lease: Lease, error: str, *, finally_: bool) -> bool:
    state = SpanState.FAILED if finally_ else SpanState.QUEUED
    if not _update_held(session, lease, state=state.value, lease_until=None, error=error):
        return False
    if finally_:
        _fail_run(
            session,
            lease.run_id,
            one_line(
                f"Gave up after {_attempts(lease.attempts)} ({lease.what}): {error}. Finished "
                f"frames are kept: see the worker's log, then retry."
            ),
        )
        turns.settle(session, lease.run_id)
    else:
        turns.settle(session, lease.run_id)
        touch(
            session,
            lease.job_id,
            log=one_line(f"Attempt {lease.attempts} ({lease.what}): {error}."),
        )
    return True


def _fail_run(session: Session, run_id: int, sentence: str) -> None:
    run = session.get_one(Run, run_id)
    if run.state not in turns.ACTIVE:
        touch(session, run.job_id)
        return
    run.state, run.error, run.finished = RunState.FAILED.value, sentence, now(session)
    touch(session, run.job_id, log=f"Run {run.number} failed: {sentence}")


def _attempts(number: int) -> str:
    return f"{number} attempt{'' if number == 1 else 's'}"


def _lease_of(span: Any, run: Run) -> Lease:
    """The lease of a span, given as an object or as a row of `_LEASE_COLUMNS`."""
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
