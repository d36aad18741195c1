"""Promise: a job's state follows from its latest revision and run, and every change is seen."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from sqlalchemy import select

from config import Settings
from errors import ConflictError, InputError, NotFoundError
from jobs.models import Run
from jobs.options import Mode, RunOptions
from jobs.service import Jobs
from jobs.views import JobState, RunState, SpanState
from tests.helpers.clips import tiny_clip, write_clip


@pytest.fixture
def ready(jobs: Jobs, export: Path) -> Jobs:
    """Jobs with one job, 264, that waits in Ready."""
    with export.open("rb") as stream:
        jobs.receive("264.zip", stream)
    return jobs


def test_a_started_run_is_queued_with_learning_a_span_per_gap_and_the_result(ready: Jobs) -> None:
    run = ready.start_run("264", RunOptions(parallel_spans=1))
    assert (run.number, run.state, run.frames_total) == (1, RunState.QUEUED, 9)
    assert [(span.ordinal, span.start, span.stop, span.direction) for span in run.spans] == [
        (-1, 0, 11, "learn"),
        (0, 1, 5, "both"),
        (1, 7, 10, "both"),
        (2, 0, 11, "assemble"),
    ]
    assert run.spans[0].frames_total == 0
    assert run.options.parallel_spans == 1
    job = ready.job("264").job
    assert job.state is JobState.QUEUED
    assert job.run is not None
    assert job.run.number == 1


def test_a_second_run_of_the_same_revision_waits_for_the_first(ready: Jobs) -> None:
    ready.start_run("264", RunOptions())
    with pytest.raises(ConflictError, match="Run 1 of job 264 is queued"):
        ready.start_run("264", RunOptions())


def test_a_new_revision_is_ready_while_the_old_one_still_runs(ready: Jobs, export: Path) -> None:
    ready.start_run("264", RunOptions())
    write_clip(export, tiny_clip(12), [0, 5])
    with export.open("rb") as stream:
        assert ready.receive("264.zip", stream).state is JobState.READY
    assert ready.start_run("264", RunOptions()).revision == 2


def test_planning_faults_reach_the_person_and_queue_nothing(ready: Jobs) -> None:
    with pytest.raises(InputError, match="99"):
        ready.start_run("264", RunOptions(frames="99"))
    with pytest.raises(InputError):
        ready.start_run("264", RunOptions(mode=Mode.RESEGMENT))
    with pytest.raises(InputError, match="parallel"):
        ready.start_run("264", RunOptions(parallel_spans=-1))
    for seed in (-1, 2**32):
        with pytest.raises(InputError, match="from 0 to 4294967295"):
            ready.start_run("264", RunOptions(seed=seed))
    assert ready.job("264").job.state is JobState.READY


def test_a_plan_says_what_a_run_would_compute_and_changes_nothing(ready: Jobs) -> None:
    cursor, _ = ready.changes(0)
    plan = ready.plan("264", RunOptions(frames="2-3"))
    assert plan.key_frames == (0, 6, 11)
    assert [span.start for span in plan.spans]
    assert ready.changes(cursor) == (cursor, ())


def test_a_cancelled_run_is_failed_with_a_reason_and_can_be_retried(ready: Jobs) -> None:
    ready.start_run("264", RunOptions())
    job = ready.cancel("264")
    assert job.state is JobState.FAILED
    assert "cancelled" in job.reason
    with pytest.raises(ConflictError):
        ready.cancel("264")
    run = ready.retry("264")
    assert (run.number, run.state, run.error) == (1, RunState.QUEUED, "")
    assert {span.state for span in run.spans} == {SpanState.QUEUED}
    with pytest.raises(ConflictError, match="nothing to retry"):
        ready.retry("264")


def test_a_refused_export_can_neither_be_started_nor_retried(jobs: Jobs, export: Path) -> None:
    write_clip(export, tiny_clip(12), [])
    with export.open("rb") as stream:
        jobs.receive("264.zip", stream)
    for action in (jobs.retry, lambda job_id: jobs.start_run(job_id, RunOptions())):
        with pytest.raises(ConflictError, match="refused"):
            action("264")


def test_a_deleted_job_is_gone_with_its_files_and_readers_hear_of_it(
    ready: Jobs, export: Path
) -> None:
    ready.start_run("264", RunOptions())
    cursor, _ = ready.changes(0)
    ready.delete_job("264")
    assert ready.changes(cursor)[1] == ("264",)
    assert ready.list_jobs().total == 0
    assert not ready.files.job("264").exists()
    with pytest.raises(NotFoundError):
        ready.job("264")
    with export.open("rb") as stream:
        again = ready.receive("264.zip", stream)
    assert (again.state, again.results) == (JobState.READY, ())
    assert again.revision.number == 2, "numbers are never given out twice"
    assert ready.start_run("264", RunOptions()).number == 2


def test_changes_tells_exactly_what_changed_after_the_cursor(ready: Jobs, export: Path) -> None:
    cursor, ids = ready.changes(0)
    assert ids == ("264",)
    assert ready.changes(cursor) == (cursor, ())
    with export.open("rb") as stream:
        ready.receive("265.zip", stream)
    later, ids = ready.changes(cursor)
    assert later > cursor
    assert ids == ("265",)
    ready.start_run("264", RunOptions())
    assert ready.changes(later)[1] == ("264",)


def test_lists_are_searched_counted_and_cut_into_pages(jobs: Jobs, export: Path) -> None:
    for name in ("264", "1264", "a_b", "aXb", "100%"):
        with export.open("rb") as stream:
            jobs.receive(f"{name}.zip", stream)
    jobs.start_run("264", RunOptions())
    assert {job.name for job in jobs.list_jobs(search="264").jobs} == {"264", "1264"}
    assert {job.name for job in jobs.list_jobs(search="a_b").jobs} == {"a_b"}
    assert {job.name for job in jobs.list_jobs(search="%").jobs} == {"100%"}
    page = jobs.list_jobs(limit=2, offset=4)
    assert (len(page.jobs), page.total) == (1, 5)
    queued = jobs.list_jobs(state=JobState.QUEUED)
    assert [job.id for job in queued.jobs] == ["264"]
    assert queued.counts == {"ready": 4, "queued": 1, "running": 0, "completed": 0, "failed": 0}
    assert jobs.list_jobs().jobs[0].id == "264", "what changed last comes first"


def test_what_is_not_there_is_not_found_by_its_name(ready: Jobs) -> None:
    for action in (ready.job, ready.result, ready.cancel, ready.retry, ready.delete_job):
        with pytest.raises(NotFoundError):
            action("no-such-job")
    with pytest.raises(NotFoundError, match="no result yet"):
        ready.result("264")
    with pytest.raises(NotFoundError, match="run 7"):
        ready.result("264", 7)


def test_without_workers_and_broker_work_can_still_be_taken(jobs: Jobs) -> None:
    health = jobs.health()
    assert health.ready
    assert (health.database, health.disk, health.workers) == ("ok", "ok", 0)
    assert health.broker.startswith("degraded")


def test_a_broker_that_is_away_only_degrades_health_and_holds_up_no_run(
    settings: Settings, export: Path
) -> None:
    jobs = Jobs(replace(settings, broker_url="amqp://guest:guest@127.0.0.1:1//"))
    with export.open("rb") as stream:
        jobs.receive("264.zip", stream)
    assert jobs.start_run("264", RunOptions()).state is RunState.QUEUED
    health = jobs.health()
    assert health.ready
    assert health.broker.startswith("degraded")
    jobs.close()


def test_a_run_with_nothing_to_compute_has_nothing_to_learn(jobs: Jobs, tmp_path: Path) -> None:
    path = write_clip(tmp_path / "1.zip", tiny_clip(2), [0, 1])
    with path.open("rb") as stream:
        jobs.receive("1.zip", stream)
    run = jobs.start_run("1", RunOptions())
    assert [(span.ordinal, span.direction) for span in run.spans] == [(0, "assemble")]


def test_the_seed_is_kept_and_runs_from_before_there_was_one_have_0(ready: Jobs) -> None:
    assert ready.start_run("264", RunOptions(seed=7)).options.seed == 7
    with ready.database.write() as session:
        run = session.scalars(select(Run)).one()
        run.options = {name: value for name, value in run.options.items() if name != "seed"}
    assert ready.job("264").runs[0].options.seed == 0
