"""A worker's loop in a thread of the test, with quick heartbeats."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace

from config import Settings
from jobs.db import Database
from jobs.service import Jobs
from jobs.views import JobState
from worker.crew import Crew
from worker.heartbeat import Identity, Pace
from worker.loop import SpanLoop

QUICK = Pace(lease=5.0, heartbeat=0.05, tick=0.05)


def a_loop(settings: Settings, database: Database, name: str = "w") -> SpanLoop:
    identity = Identity(name=name, host="here", device="cpu")
    return SpanLoop(settings, database, identity, pace=QUICK)


@contextmanager
def running(loop: SpanLoop) -> Iterator[None]:
    thread = threading.Thread(target=loop.run)
    thread.start()
    try:
        yield
    finally:
        loop.ask_to_stop()
        thread.join()


@contextmanager
def a_crew(settings: Settings, spans: int, name: str = "w") -> Iterator[None]:
    """One worker that computes `spans` spans at once."""
    identity = Identity(name=name, host="here", device="cpu")
    crew = Crew(replace(settings, spans_at_once=spans), identity, pace=QUICK)
    crew.start()
    try:
        yield
    finally:
        crew.ask_to_stop()
        crew.join()


def wait_for(jobs: Jobs, job_id: str, *states: JobState) -> None:
    pause = threading.Event()
    for _ in range(1200):
        job = jobs.job(job_id).job
        if job.state in states:
            return
        assert job.state not in (JobState.FAILED, JobState.COMPLETED), job
        pause.wait(0.05)
    raise AssertionError(jobs.job(job_id))
