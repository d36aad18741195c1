"""How much there is of everything, for those who watch an installation with many others.

Reading costs little also with a hundred thousand queued spans: jobs and runs are counted as the
dashboard counts them, spans in an index and only those of runs that are not over, and what only
grows was counted while it happened (`jobs.tally`).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from sqlalchemy import BigInteger, Row, ScalarSelect, cast, func, select
from sqlalchemy.orm import Session

from jobs import store_views, tally
from jobs.look import Look
from jobs.models import Run, Span
from jobs.store_runs import UNFINISHED
from jobs.views import RunState, SpanState, WorkerView

SEEN_SECONDS = 3600.0  # a worker that was killed is told of for so long


@dataclass(frozen=True, slots=True, kw_only=True)
class Figures:
    """Counts of now, and counts since the database was made (which never fall).

    `buckets`: for each upper bound in seconds, how many finished spans took at most so long.
    `seen`: workers that reported within `SEEN_SECONDS`; `workers`: how many of them are alive.
    """

    jobs: dict[str, int]  # by JobState value
    spans_queued: int  # of runs that are not over, paused ones included
    spans_leased: int
    queue_depth: int  # the queued ones that wait for workers and not for a person
    workers: int
    seen: tuple[WorkerView, ...]
    frames: int
    attempts: int
    lease_expiries: int
    late_commits: int
    spans: int
    span_seconds: float
    buckets: tuple[tuple[int, int], ...]


def read(session: Session) -> Figures:
    """All figures of now."""
    counted = tally.counts(session)
    waiting = _waiting(session)
    below, buckets = 0, []
    for limit in tally.BUCKETS:
        below += counted.get(tally.bucket(limit), 0)
        buckets.append((limit, below))
    page = store_views.list_jobs(session, Look(), state=None, limit=0, offset=0)
    return Figures(
        jobs=page.counts,
        spans_queued=sum(row.queued for row in waiting),
        spans_leased=sum(row.leased for row in waiting),
        queue_depth=sum(row.queued for row in waiting if row.state != RunState.PAUSED.value),
        workers=len(store_views.workers(session)),
        seen=store_views.workers(session, SEEN_SECONDS),
        frames=counted.get(tally.FRAMES, 0),
        attempts=counted.get(tally.ATTEMPTS, 0),
        lease_expiries=counted.get(tally.LEASE_EXPIRIES, 0),
        late_commits=counted.get(tally.LATE_COMMITS, 0),
        spans=counted.get(tally.SPANS, 0),
        span_seconds=counted.get(tally.SPAN_MILLISECONDS, 0) / 1000,
        buckets=tuple(buckets),
    )


def _waiting(session: Session) -> Sequence[Row[tuple[str, int, int]]]:
    """Queued and leased spans of runs that are not over, by the state of their run."""

    def spans(state: SpanState) -> ScalarSelect[int]:
        # Run by run, each a stretch of one index; grouping all of them would sort them first.
        return (
            select(func.count())
            .select_from(Span)
            .where(Span.run_id == Run.id, Span.state == state.value)
            .scalar_subquery()
        )

    runs = (
        select(
            Run.state,
            spans(SpanState.QUEUED).label("queued"),
            spans(SpanState.LEASED).label("leased"),
        )
        .where(Run.state.in_(UNFINISHED))
        .subquery()
    )
    queued, leased = (cast(func.sum(of), BigInteger) for of in (runs.c.queued, runs.c.leased))
    return session.execute(
        select(runs.c.state, queued.label("queued"), leased.label("leased")).group_by(runs.c.state)
    ).all()
