"""Requests to workers: put down for them, waited for, stopped."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from typing import Any

from sqlalchemy import Select, bindparam, delete, select, update
from sqlalchemy.orm import Session

from errors import ConflictError, NotFoundError
from jobs import audit, store_views
from jobs.next_frame import WORDS
from jobs.session_models import LiveSession, SessionStep
from jobs.session_views import Busy, Ended, Stopped
from jobs.store import now

QUEUED, LEASED, DONE, FAILED, STOPPED = "queued", "leased", "done", "failed", "stopped"
"""`SessionStep.state`."""

OPEN = (QUEUED, LEASED)
_KEPT = 50  # requests of a session that are over
_MOST_WAITING = 20  # of one session


def ask(
    session: Session, job_id: str, kind: str, arguments: Mapping[str, Any]
) -> tuple[int, float]:
    """Put a request down for a worker; returns its id, and when that was.

    Raises ConflictError where no worker is there, or too many requests wait already.
    """
    require_worker(session)
    waiting = len(
        session.scalars(
            select(SessionStep.id).where(SessionStep.job_id == job_id, SessionStep.state.in_(OPEN))
        ).all()
    )
    if waiting >= _MOST_WAITING:
        raise ConflictError(
            f"{waiting} requests of this session wait for a worker already: wait, or stop them."
        )
    step = SessionStep(
        job_id=job_id,
        kind=kind,
        arguments=dict(arguments),
        actor=audit.actor(),
        state=QUEUED,
        created=now(session),
    )
    session.add(step)
    session.flush()
    _forget_old(session, job_id)
    return step.id, step.created


def require_worker(session: Session) -> None:
    """Raise ConflictError where nobody could do a request."""
    if not store_views.workers(session):
        raise ConflictError("No worker is running: start one with ./start_worker.sh NAME.")


def look(session: Session, job_id: str, step_id: int) -> tuple[str, dict[str, Any] | None, str]:
    """State, answer and error of a request. Raises NotFoundError."""
    found = session.execute(_look(), {"job": job_id, "step": step_id}).one_or_none()
    if found is None:
        raise NotFoundError(f"There is no request {step_id} in this session (any more).")
    return found[0], found[1], found[2]


@cache
def _look() -> Select[tuple[str, dict[str, Any] | None, str]]:
    """Put together once: it is asked every few milliseconds while somebody waits."""
    return select(SessionStep.state, SessionStep.answer, SessionStep.error).where(
        SessionStep.id == bindparam("step"), SessionStep.job_id == bindparam("job")
    )


def stop(session: Session, job_id: str) -> int:
    """End what is asked of workers: at the frame at hand, or before it begins. Returns how many."""
    common = (SessionStep.job_id == job_id, SessionStep.kind != "segment")
    quiet = {"synchronize_session": False}
    ended = session.scalars(
        update(SessionStep)
        .where(*common, SessionStep.state == QUEUED)
        .values(state=STOPPED)
        .returning(SessionStep.id)
        .execution_options(**quiet)
    ).all()
    asked = session.scalars(
        update(SessionStep)
        .where(*common, SessionStep.state == LEASED)
        .values(stop=True)
        .returning(SessionStep.id)
        .execution_options(**quiet)
    ).all()
    return len(ended) + len(asked)


def give_up(session: Session, job_id: str, step_id: int) -> None:
    """Take back a request that nobody has taken and whose answer nobody waits for any more."""
    session.execute(
        update(SessionStep)
        .where(SessionStep.id == step_id, SessionStep.job_id == job_id, SessionStep.state == QUEUED)
        .values(state=STOPPED)
        .execution_options(synchronize_session=False)
    )


def drop_all(session: Session, job_id: str) -> None:
    """Forget all requests, of a session that begins anew; who works on one finds it gone."""
    session.execute(delete(SessionStep).where(SessionStep.job_id == job_id))


def busy(session: Session, job_id: str) -> Busy | None:
    """The request that is worked on, or is next."""
    step = session.scalars(
        select(SessionStep)
        .where(SessionStep.job_id == job_id, SessionStep.state.in_(OPEN))
        .order_by(SessionStep.id)
        .limit(1)
    ).one_or_none()
    if step is None:
        return None
    first, last = span_of(step.arguments)
    return Busy(
        id=step.id,
        kind=step.kind,
        frame=first if step.at is None else step.at,
        from_=first,
        to=last,
        done=step.done,
        share=step.share,
        waiting=step.state == QUEUED,
        worker=step.worker,
    )


def ended(session: Session, job_id: str) -> Ended | None:
    """The request for frames, or to make ready, that ended last."""
    step = session.scalars(
        select(SessionStep)
        .where(
            SessionStep.job_id == job_id,
            SessionStep.state.not_in(OPEN),
            SessionStep.kind != "segment",
        )
        .order_by(SessionStep.id.desc())
        .limit(1)
    ).one_or_none()
    if step is None:
        return None
    stopped = (step.answer or {}).get("stopped")
    return Ended(
        id=step.id,
        kind=step.kind,
        state=step.state,
        frame=step.at,
        stopped=(
            None if stopped is None else Stopped(**stopped, reason=WORDS.get(stopped["why"], ""))
        ),
        error=step.error,
    )


def span_of(arguments: Mapping[str, Any]) -> tuple[int, int]:
    """First and last frame of a request."""
    if "to" in arguments:
        return arguments["from"], arguments["to"]
    return arguments["frame"], arguments["frame"]


def worker_of(session: Session, row: LiveSession) -> str:
    """The worker who serves a session, or would: one that is there; empty where none is."""
    names = [worker.name for worker in store_views.workers(session)]
    served = row.holder.partition("#")[0]
    return served if served in names else next(iter(names), "")


def _forget_old(session: Session, job_id: str) -> None:
    oldest = session.scalars(
        select(SessionStep.id)
        .where(SessionStep.job_id == job_id, SessionStep.state.not_in(OPEN))
        .order_by(SessionStep.id.desc())
        .offset(_KEPT)
        .limit(1)
    ).one_or_none()
    if oldest is not None:
        session.execute(
            delete(SessionStep).where(
                SessionStep.job_id == job_id,
                SessionStep.id <= oldest,
                SessionStep.state.not_in(OPEN),
            )
        )
