"""Whose turn it is: which run the next free worker serves, and which of its spans comes next.

For every run the queue keeps whether a span of it can be claimed now (`runs.open`), how many are
leased, and since when it waits for a worker; `settle` brings these up to date whenever a span or a
run changes. So a claim reads one row of an index of open runs and one of an index of the run's
spans: it costs the same with ten queued spans as with a hundred thousand.

The order: runs that somebody waits in front of (`Priority.INTERACTIVE`) come first, then the higher
priority, then the run on which the fewest workers are (fair share), then the older one. So that
nobody starves, every fourth claim goes to the run that has waited longest for a worker, once that
is more than ten minutes.
"""

from __future__ import annotations

from sqlalchemy import ColumnElement, exists, func, select, update
from sqlalchemy.orm import Session

from jobs.db import db_now
from jobs.models import ASSEMBLE, LEARN, LEARN_ORDINAL, Run, Span
from jobs.options import Priority
from jobs.views import RunState, SpanState

ACTIVE = (RunState.QUEUED.value, RunState.RUNNING.value)
"""States in which spans of a run are given out."""

PATIENCE_SECONDS = 600.0  # a run that waited for longer is served out of turn
OUT_OF_TURN = 4  # every so many claims

_QUEUED, _LEASED, _DONE, _FAILED = (
    state.value for state in (SpanState.QUEUED, SpanState.LEASED, SpanState.DONE, SpanState.FAILED)
)


def next_run(session: Session, *, claims: int) -> int | None:
    """The id of the run whose turn it is; None where no span can be claimed.

    `claims`: how many claims there were before this one.
    """
    first = session.execute(
        select(Run.id, Run.priority)
        .where(Run.open)
        .order_by(Run.priority, Run.leased, Run.id)
        .limit(1)
    ).one_or_none()
    if first is None:
        return None
    if first.priority == Priority.INTERACTIVE.rank or claims % OUT_OF_TURN:
        return int(first.id)
    patient = session.scalars(
        select(Run.id)
        .where(Run.open, Run.waiting_since < db_now() - PATIENCE_SECONDS)
        .order_by(Run.waiting_since)
        .limit(1)
    ).one_or_none()
    return int(first.id) if patient is None else patient


def next_span(session: Session, run_id: int, *, lock: bool = False) -> int | None:
    """The id of the run's next span; None while there is none to begin.

    Nothing begins before the engine has learned; the result is written when all else is done.
    `lock`: pass over a span that somebody else holds the row of (PostgreSQL).
    """
    wanted = (
        select(Span.id, Span.direction)
        .where(Span.run_id == run_id, Span.state == _QUEUED)
        .order_by(Span.ordinal)  # learning has the lowest, the result the highest
        .limit(1)
    )
    row = session.execute(
        wanted.with_for_update(skip_locked=True) if lock else wanted
    ).one_or_none()
    if row is None:
        return None
    if row.direction == ASSEMBLE:
        blocked = exists().where(Span.run_id == run_id, Span.state.in_((_LEASED, _FAILED)))
    elif row.direction == LEARN:
        return int(row.id)
    else:
        blocked = exists().where(
            Span.run_id == run_id, Span.ordinal == LEARN_ORDINAL, Span.state != _DONE
        )
    return None if session.scalars(select(blocked)).one() else int(row.id)


def settle(session: Session, run_id: int, *, served: bool = False) -> bool:
    """Bring up to date what the queue knows of a run; returns whether it is open.

    `served`: a worker has just begun one of its spans, so that its waiting begins anew.
    """
    session.flush()
    run = session.execute(
        select(Run.state, Run.parallel_spans, Run.open).where(Run.id == run_id)
    ).one_or_none()
    if run is None:  # deleted meanwhile
        return False
    leased = session.scalars(
        select(func.count()).select_from(Span).where(Span.run_id == run_id, Span.state == _LEASED)
    ).one()
    is_open = (
        run.state in ACTIVE
        and (run.parallel_spans == 0 or leased < run.parallel_spans)
        and next_span(session, run_id) is not None
    )
    values: dict[str, object] = {"leased": leased, "open": is_open}
    if not is_open:
        values["waiting_since"] = None
    elif served or not run.open:
        values["waiting_since"] = db_now()
    session.execute(
        update(Run)
        .where(Run.id == run_id)
        .values(values)
        .execution_options(synchronize_session=False)
    )
    return is_open


def stuck() -> ColumnElement[bool]:
    """What no run may be: to be worked on, with nothing to claim and nobody at work."""
    return exists().where(*_STUCK)


def mend(session: Session) -> None:
    """Settle runs that are stuck: a row changed by hand must not hold up its run for ever."""
    for run_id in session.scalars(select(Run.id).where(*_STUCK)).all():
        settle(session, run_id)


_STUCK = (
    Run.state.in_(ACTIVE),
    Run.open.is_(False),
    ~exists().where(Span.run_id == Run.id, Span.state == _LEASED),
)
