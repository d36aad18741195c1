"""Promise: a worker that waits while others are at work has its engine loaded when a span comes."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from sqlalchemy import update

from config import Settings
from jobs.models import Run
from jobs.service import Jobs
from jobs.views import RunState
from tests.worker.queue.kit import must_claim, queue_run
from worker.ready import Readiness

_WAITS = """
import sys, time
from pathlib import Path
from config import Settings
from jobs.db import Database, database_url
from tests.worker.loops import a_loop, running

settings = Settings(data_dir=Path(sys.argv[1]))
with running(a_loop(settings, Database(database_url(settings)))):
    ends = time.monotonic() + float(sys.argv[2])
    while "tracker.propagators.builtin" not in sys.modules and time.monotonic() < ends:
        time.sleep(0.02)
print("tracker.propagators.builtin" in sys.modules)
"""


def _loads(settings: Settings, seconds: float) -> bool:
    """Whether a fresh worker loads the engine `builtin` within some time, without any span."""
    ran = subprocess.run(
        [sys.executable, "-c", _WAITS, str(settings.data_dir), str(seconds)],
        cwd=Path(__file__).parents[2],
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    return ran.stdout.strip() == "True"


def _take(jobs: Jobs, engine: str) -> None:
    with jobs.database.write() as session:
        session.execute(update(Run).values(engine=engine))


def test_the_engine_of_a_run_that_another_works_on_is_loaded(
    jobs: Jobs, settings: Settings
) -> None:
    queue_run(jobs, "a", 1)
    must_claim(jobs, "other")
    _take(jobs, "builtin")
    assert _loads(settings, 30.0)


def test_nothing_is_loaded_while_there_is_nothing_to_do(jobs: Jobs, settings: Settings) -> None:
    assert not _loads(settings, 1.0)


def test_an_engine_that_cannot_be_loaded_is_left_to_the_span_that_needs_it(
    jobs: Jobs, settings: Settings
) -> None:
    queue_run(jobs, "a", 1)
    must_claim(jobs, "other")
    _take(jobs, "deaot-t")  # no weights are here
    Readiness(jobs.database, settings, "cpu").improve()
    run = jobs.job("a").runs[0]
    assert (run.state, run.error) == (RunState.RUNNING, "")
