"""The dashboard's five boxes, read in one go."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass

from jobs.service import Jobs
from jobs.views import JobState, JobView


@dataclass(frozen=True, slots=True, kw_only=True)
class Board:
    """Jobs by state (newest first, at most `limit` in each box) and how many there are in all."""

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


def read_board(jobs: Jobs, *, search: str = "", limit: int = 50) -> Board:
    """Read all boxes; each is limited by itself, so that old work never hides new work."""
    pages = {
        state: jobs.list_jobs(search=search, state=state, limit=limit, offset=0)
        for state in JobState
    }
    running = tuple(_with_spans(jobs, job) for job in pages[JobState.RUNNING].jobs)
    first = pages[JobState.READY]
    return Board(
        ready=first.jobs,
        queued=pages[JobState.QUEUED].jobs,
        running=running,
        completed=pages[JobState.COMPLETED].jobs,
        failed=pages[JobState.FAILED].jobs,
        counts=first.counts,
        notices=first.notices,
        limit=limit,
    )


def _with_spans(jobs: Jobs, job: JobView) -> JobView:
    if job.run is None:
        return job
    detail = jobs.job(job.id)
    run = next((run for run in detail.runs if run.number == job.run.number), job.run)
    return dataclasses.replace(job, run=run)
