"""The dashboard's five boxes, read in one go."""

from __future__ import annotations

from dataclasses import dataclass

from jobs.look import Look
from jobs.service import Jobs
from jobs.views import JobState, JobView


@dataclass(frozen=True, slots=True, kw_only=True)
class Board:
    """Jobs by state (in the order asked for, at most `limit` each) and how many there are."""

    ready: tuple[JobView, ...]
    queued: tuple[JobView, ...]
    running: tuple[JobView, ...]  # with the spans of their run
    completed: tuple[JobView, ...]
    failed: tuple[JobView, ...]
    counts: dict[str, int]  # by JobState value, of all jobs that fit the search
    notices: tuple[str, ...]
    limit: int

    def box(self, state: JobState) -> tuple[JobView, ...]:
        """Return the jobs of one box."""
        jobs: tuple[JobView, ...] = getattr(self, state.value)
        return jobs


def read_board(jobs: Jobs, look: Look, *, limit: int = 20) -> Board:
    """Read all boxes; each is limited by itself, so that old work never hides new work."""
    pages = jobs.list_boxes(search=look.search, label=look.label, sort=look.sort, limit=limit)
    first = pages[JobState.READY]
    return Board(
        ready=first.jobs,
        queued=pages[JobState.QUEUED].jobs,
        running=pages[JobState.RUNNING].jobs,
        completed=pages[JobState.COMPLETED].jobs,
        failed=pages[JobState.FAILED].jobs,
        counts=first.counts,
        notices=first.notices,
        limit=limit,
    )
