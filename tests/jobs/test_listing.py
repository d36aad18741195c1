"""Promise: pages of jobs and the five boxes hold what they say, in order, however they are cut."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import replace

import pytest
from sqlalchemy import event

from bench.listing import STATES, fill
from config import Settings
from jobs.models import Revision, Run
from jobs.service import Jobs
from jobs.store import touch
from jobs.views import JobState

COUNT = 90
BOX = {
    "ready": JobState.READY,
    "queued": JobState.QUEUED,
    "paused": JobState.QUEUED,
    "running": JobState.RUNNING,
    "done": JobState.COMPLETED,
    "failed": JobState.FAILED,
    "cancelled": JobState.FAILED,
}


@pytest.fixture
def many(either_url: str, settings: Settings) -> Iterator[Jobs]:
    """Ninety jobs in all states; job clip-0 is the oldest."""
    opened = Jobs(replace(settings, database_url=either_url))
    fill(opened.database, COUNT)
    yield opened
    opened.close()


def state_of(number: int) -> JobState:
    return BOX[STATES[number % len(STATES)]]


def test_pages_joined_are_all_jobs_newest_first_each_once(many: Jobs) -> None:
    pages = [many.list_jobs(limit=40, offset=offset) for offset in range(0, COUNT + 40, 40)]
    assert [len(page.jobs) for page in pages] == [40, 40, 10, 0]
    ids = [job.id for page in pages for job in page.jobs]
    assert ids == [f"clip-{number}" for number in reversed(range(COUNT))]
    assert {page.total for page in pages} == {COUNT}


def test_states_and_counts_are_those_of_each_job_alone(many: Jobs) -> None:
    page = many.list_jobs(limit=500)
    for job in page.jobs:
        assert job.state is state_of(int(job.id.removeprefix("clip-")))
        alone = many.job(job.id).job
        assert replace(alone, run=None) == replace(job, run=None)  # a run's speed goes on
    assert page.counts == Counter(job.state.value for job in page.jobs)


@pytest.mark.parametrize("state", list(JobState))
def test_a_page_of_one_state_is_cut_from_that_state_alone(many: Jobs, state: JobState) -> None:
    wanted = [f"clip-{n}" for n in reversed(range(COUNT)) if state_of(n) is state]
    page = many.list_jobs(state=state, limit=5, offset=3)
    assert [job.id for job in page.jobs] == wanted[3:8]
    assert page.total == len(wanted)


def test_boxes_are_the_first_pages_of_their_states_and_hold_no_more(many: Jobs) -> None:
    boxes = many.list_boxes(limit=7)
    assert list(boxes) == list(JobState)
    for state, box in boxes.items():
        page = many.list_jobs(state=state, limit=7)
        assert [job.id for job in box.jobs] == [job.id for job in page.jobs]
        assert len(box.jobs) == 7
        assert (box.total, box.counts) == (page.total, page.counts)


def test_only_running_jobs_bring_their_spans(many: Jobs) -> None:
    for state, box in many.list_boxes().items():
        for job in box.jobs:
            spans = () if job.run is None else job.run.spans
            wanted = many.job(job.id).runs[0].spans if state is JobState.RUNNING else ()
            assert spans == wanted
    assert all(job.run.spans for job in many.list_boxes()[JobState.RUNNING].jobs if job.run)


def test_a_search_counts_and_shows_what_fits(many: Jobs) -> None:
    page = many.list_jobs(search="CLIP-8", limit=3)
    assert page.total == 11  # 8 and 80 to 89
    assert [job.id for job in page.jobs] == ["clip-89", "clip-88", "clip-87"]
    assert sum(page.counts.values()) == 11
    boxes = many.list_boxes(search="clip-8")
    assert sum(len(box.jobs) for box in boxes.values()) == 11


def test_only_the_latest_revision_and_run_decide(many: Jobs) -> None:
    with many.database.write() as session:
        session.add(
            Run(
                job_id="clip-4", number=2, revision=1, images_revision=1, state="failed",
                options={}, engine="flow", ignore_labels=[], plan="{}", created=time.time(),
            )
        )  # fmt: skip
    # The job's row still says that run 1 is the latest.
    assert many.job("clip-4").job.state is JobState.COMPLETED
    ids = [job.id for job in many.list_jobs(state=JobState.COMPLETED, limit=500).jobs]
    assert "clip-4" in ids


def test_a_refused_revision_fails_its_job_whatever_ran_before(many: Jobs) -> None:
    with many.database.write() as session:
        row = session.get(Revision, ("clip-4", 1))
        assert row is not None
        row.refused = "It holds no masks."
        touch(session, "clip-4")
    job = many.list_jobs(state=JobState.FAILED, search="clip-4", limit=500).jobs[0]
    assert (job.id, job.reason) == ("clip-4", "It holds no masks.")
    assert many.job("clip-4").job.state is JobState.FAILED


def test_more_jobs_need_no_more_questions_to_the_database(many: Jobs) -> None:
    asked: list[str] = []

    def note(_c: object, _k: object, statement: str, *_more: object) -> None:
        asked.append(statement)

    event.listen(many.database.engine, "before_cursor_execute", note)
    many.list_boxes(limit=1)
    few = len(asked)
    asked.clear()
    many.list_boxes(limit=500)
    assert len(asked) == few
