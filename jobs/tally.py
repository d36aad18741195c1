"""What has happened since the database was made: counts that only grow, for /metrics.

Kept as rows beside the work itself, in the same transactions: no process keeps a count that dies
with it, and every server of an installation tells the same.
"""

from __future__ import annotations

from sqlalchemy import insert, select, update
from sqlalchemy.orm import Session

from jobs.models import Counter

ATTEMPTS = "attempts"  # claims of spans
LEASE_EXPIRIES = "lease_expiries"
LATE_COMMITS = "late_commits"  # refused, since their lease was gone
FRAMES = "frames"  # computed and recorded
SPANS = "spans"  # recorded as done, those of learning and of results included
SPAN_MILLISECONDS = "span_ms"  # that these took, from claim to commit

BUCKETS = (1, 3, 10, 30, 100, 300, 1000, 3000)  # seconds


def bucket(seconds: int) -> str:
    """The counter of spans that took at most so many `seconds` (and more than the bucket below)."""
    return f"spans_le_{seconds}"


def add(session: Session, name: str, by: int = 1) -> int:
    """Add to a counter, which is made where it is not there; returns what it is then.

    Writers take turns: no race.
    """
    value = session.scalars(
        update(Counter)
        .where(Counter.name == name)
        .values(value=Counter.value + by)
        .returning(Counter.value)
    ).one_or_none()
    if value is not None:
        return value
    session.execute(insert(Counter).values(name=name, value=by))
    return by


def add_span(session: Session, seconds: float) -> None:
    """Count one span that took `seconds`."""
    add(session, SPANS)
    add(session, SPAN_MILLISECONDS, round(1000 * seconds))
    fits = next((limit for limit in BUCKETS if seconds <= limit), None)
    if fits is not None:
        add(session, bucket(fits))


def counts(session: Session) -> dict[str, int]:
    """All counters; one that nothing was added to is missing."""
    rows = session.execute(select(Counter.name, Counter.value).where(Counter.name != "changed"))
    return {row.name: row.value for row in rows}
