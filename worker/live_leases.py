"""Claiming, renewing and ending the requests of live sessions, as `worker.leases` does with spans.

Requests of one session are done one at a time, in their order. Whoever served a session last has it
in memory and is left the next one for a moment, before others take it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from typing import Any

from sqlalchemy import (
    ColumnElement,
    Double,
    Select,
    bindparam,
    exists,
    func,
    or_,
    select,
    update,
)
from sqlalchemy.orm import Session, aliased

from errors import one_line
from jobs.db import db_now
from jobs.session_models import LiveSession, SessionStep
from jobs.session_steps import DONE, FAILED, LEASED, OPEN, QUEUED, STOPPED
from worker.leases import LEASE_SECONDS, VANISHED

MAX_ATTEMPTS = 2  # of one request
LEFT_SECONDS = 0.1  # for how long a request is left to whoever served its session last
IDLE_SECONDS = 0.25  # whoever is idle takes a request sooner
KNOWN_SECONDS = 600.0  # for how long whoever served a session is thought to have it in memory
_LONGEST_LEASE = 60.0  # no lease is made for longer: see `worker.leases`
_QUIET = {"synchronize_session": False}


@dataclass(frozen=True, slots=True, kw_only=True)
class StepLease:
    """The right to do one request, for as long as `fence` is its newest number.

    `at`: the last frame that an earlier attempt stored; `done`: how many frames it did.
    """

    id: int
    job_id: str
    kind: str
    arguments: Mapping[str, Any]
    fence: int
    attempts: int
    at: int | None
    done: int

    @property
    def doing(self) -> str:
        """What people read while it is worked on."""
        return f"job {self.job_id}, frame by frame"


def is_waiting(session: Session, holder: str, left_seconds: float = LEFT_SECONDS) -> bool:
    """Whether `claim` would find something, or a lease ended; reads only."""
    if not session.scalars(_anything()).one():
        return False
    given = {"holder": holder, "left": left_seconds}
    return bool(session.scalars(_waiting(), given).one())


def somebody_waits(session: Session) -> bool:
    """Whether a request has waited for so long that nobody idle will take it; reads only."""
    return bool(session.scalars(_ignored(), {"holder": "", "left": 0.0}).one())


def others_wait(session: Session, job_id: str, seconds: float) -> bool:
    """Whether another session's turn has not come for so long, and could; reads only."""
    waiting = _next().where(SessionStep.job_id != job_id, SessionStep.created < db_now() - seconds)
    return bool(session.scalars(select(waiting.exists()), {"holder": "", "left": 0.0}).one())


def claim(
    session: Session,
    holder: str,
    worker: str,
    lease_seconds: float = LEASE_SECONDS,
    left_seconds: float = LEFT_SECONDS,
) -> StepLease | None:
    """Take the next request that may be done; None when there is none.

    `holder`: the name of the worker's loop, beginning with that of the worker and "#".
    """
    _return_expired(session)
    found = session.scalars(_in_turn(), {"holder": holder, "left": left_seconds}).first()
    if found is None:
        return None
    row = session.execute(
        update(SessionStep)
        .where(SessionStep.id == found)
        .values(
            state=LEASED,
            fence=SessionStep.fence + 1,
            attempts=SessionStep.attempts + 1,
            lease_until=db_now() + lease_seconds,
            worker=worker,
        )
        .returning(
            SessionStep.id,
            SessionStep.job_id,
            SessionStep.kind,
            SessionStep.arguments,
            SessionStep.fence,
            SessionStep.attempts,
            SessionStep.at,
            SessionStep.done,
        )
        .execution_options(**_QUIET)
    ).one()
    session.execute(
        update(LiveSession)
        .where(LiveSession.job_id == row.job_id)
        .values(holder=holder, served=db_now())
        .execution_options(**_QUIET)
    )
    return StepLease(
        id=row.id,
        job_id=row.job_id,
        kind=row.kind,
        arguments=row.arguments,
        fence=row.fence,
        attempts=row.attempts,
        at=row.at,
        done=row.done,
    )


def keep(
    session: Session, lease: StepLease, lease_seconds: float = LEASE_SECONDS, **values: Any
) -> bool | None:
    """Prolong a lease and note progress. Returns whether a person wants it to end; None: lost."""
    found = session.execute(
        update(SessionStep)
        .where(*_held(lease))
        .values(lease_until=db_now() + lease_seconds, **values)
        .returning(SessionStep.stop)
        .execution_options(**_QUIET)
    ).one_or_none()
    return None if found is None else bool(found.stop)


def tell(session: Session, lease: StepLease) -> None:
    """Let those who wait for changes of the session look again."""
    session.execute(
        update(LiveSession)
        .where(LiveSession.job_id == lease.job_id)
        .values(served=db_now())
        .execution_options(**_QUIET)
    )


def end(
    session: Session,
    lease: StepLease,
    *,
    answer: Mapping[str, Any] | None = None,
    stopped: bool = False,
    error: str = "",
) -> bool:
    """Record what became of a request. False when the lease is no longer ours.

    `stopped`: a person ended it. `error`: the sentence of one that failed.
    """
    state = FAILED if error else STOPPED if stopped else DONE
    values: dict[str, Any] = {"state": state, "error": error, "lease_until": None}
    if answer is not None:
        values["answer"] = dict(answer)
    return _update(session, lease, values)


def hand_back(session: Session, lease: StepLease, error: str = "") -> bool:
    """Give a request back: unharmed, or after an error of ours, which ends it the last time."""
    if error and lease.attempts >= MAX_ATTEMPTS:
        return end(session, lease, error=_gave_up(error))
    values: dict[str, Any] = {"state": QUEUED, "lease_until": None}
    if not error:
        values["attempts"] = SessionStep.attempts - 1
    return _update(session, lease, values)


def _return_expired(session: Session) -> None:
    rows = session.execute(
        select(SessionStep.id, SessionStep.attempts, SessionStep.stop).where(
            SessionStep.state == LEASED, _has_ended()
        )
    ).all()
    for row in rows:
        values: dict[str, Any] = {"state": QUEUED, "lease_until": None}
        if row.stop:
            values["state"] = STOPPED
        elif row.attempts >= MAX_ATTEMPTS:
            values |= {"state": FAILED, "error": _gave_up(VANISHED)}
        session.execute(
            update(SessionStep)
            .where(SessionStep.id == row.id)
            .values(**values, fence=SessionStep.fence + 1)
            .execution_options(**_QUIET)
        )


def _gave_up(error: str) -> str:
    return one_line(
        f"Gave up after {MAX_ATTEMPTS} attempts: {error}. Frames that were computed are kept: see "
        "the worker's log, then try again."
    )


# Statements are put together once: that takes longer than to ask them.


@cache
def _anything() -> Select[Any]:
    """Whether there is any request that is not over."""
    return select(exists().where(SessionStep.state.in_(OPEN)))


@cache
def _waiting() -> Select[Any]:
    ended = exists().where(SessionStep.state == LEASED, _has_ended())
    return select(ended | _next().exists())


@cache
def _ignored() -> Select[Any]:
    waiting = _next().where(SessionStep.created < db_now() - IDLE_SECONDS)
    return select(waiting.exists())


@cache
def _in_turn() -> Select[Any]:
    """The next request: of the session that was served longest ago."""
    return (
        _next()
        .join(LiveSession, LiveSession.job_id == SessionStep.job_id)
        .order_by(func.coalesce(LiveSession.served, 0.0), SessionStep.id)
        .limit(1)
    )


def _next() -> Select[Any]:
    """Requests that `holder` may take: the first of each session at which nobody is.

    `left`: seconds for which they are left to whoever served their session last.
    """
    other, own = aliased(SessionStep), aliased(LiveSession)
    earlier = exists().where(
        other.job_id == SessionStep.job_id, other.id < SessionStep.id, other.state.in_(OPEN)
    )
    theirs = exists().where(
        own.job_id == SessionStep.job_id,
        own.holder != bindparam("holder"),
        own.holder != "",
        own.served > db_now() - KNOWN_SECONDS,
        SessionStep.created > db_now() - bindparam("left", type_=Double()),
    )
    return select(SessionStep.id).where(SessionStep.state == QUEUED, ~earlier, ~theirs)


def _held(lease: StepLease) -> tuple[ColumnElement[bool], ...]:
    return (
        SessionStep.id == lease.id,
        SessionStep.fence == lease.fence,
        SessionStep.state == LEASED,
    )


def _update(session: Session, lease: StepLease, values: Mapping[str, Any]) -> bool:
    found = session.execute(
        update(SessionStep)
        .where(*_held(lease))
        .values(**values)
        .returning(SessionStep.job_id)
        .execution_options(**_QUIET)
    ).one_or_none()
    if found is None:
        return False
    session.execute(
        update(LiveSession)
        .where(LiveSession.job_id == found.job_id)
        .values(served=db_now(), updated=db_now())
        .execution_options(**_QUIET)
    )
    return True


def _has_ended() -> ColumnElement[bool]:
    return or_(
        SessionStep.lease_until < db_now(),
        SessionStep.lease_until > db_now() + _LONGEST_LEASE,
        func.coalesce(SessionStep.lease_until, 0.0) == 0.0,
    )
