"""Promise: a worker turns queued runs into results, stops at a frame, and survives faults."""

from __future__ import annotations

import json
import threading
from dataclasses import replace
from pathlib import Path

import pytest
from sqlalchemy import update

from config import Limits, Settings
from jobs.db import Database
from jobs.models import Run
from jobs.options import Mode, RunOptions
from jobs.plan import RunInputs, plan_run
from jobs.service import Jobs
from jobs.views import JobState, SpanState
from jobs.watch import Watch
from tests.helpers.clips import tiny_clip, write_clip
from tests.worker.loops import a_loop, running, wait_for
from worker.local import track
from worker.seeds import RecentSeeds


@pytest.fixture
def ready(jobs: Jobs, export: Path) -> Jobs:
    with export.open("rb") as stream:
        jobs.receive("264.zip", stream)
    return jobs


def span_files(jobs: Jobs, job_id: str) -> list[Path]:
    return list(jobs.files.spans(job_id, 1, 1).glob("0.*.jsonl"))


ENDED = (JobState.COMPLETED, JobState.FAILED)


def test_the_result_of_the_queue_equals_the_local_one_to_the_byte(
    ready: Jobs, settings: Settings, database: Database, export: Path, tmp_path: Path
) -> None:
    ready.start_run("264", RunOptions())
    loops = [a_loop(settings, database, name) for name in ("one", "two")]
    with running(loops[0]), running(loops[1]):
        wait_for(ready, "264", *ENDED)
    out = tmp_path / "local.zip"
    track(export, out, options=RunOptions(), settings=settings)
    assert ready.result("264").read_bytes() == out.read_bytes()
    run = ready.job("264").runs[0]
    assert (run.frames_done, run.frames_total) == (9, 9)
    assert run.result_bytes == out.stat().st_size
    assert run.engine == "flow", 'the run says what "auto" was'
    report = json.loads(ready.files.report("264", 1, 1).read_text())
    flagged = {each["frame"] for each in report["divergence"] if each["score"] >= 0.5}
    assert run.flagged_frames == report["flagged_frames"] == len(flagged)


def test_a_re_segmentation_goes_on_from_the_latest_result(
    ready: Jobs, settings: Settings, database: Database, export: Path
) -> None:
    ready.start_run("264", RunOptions())
    with running(a_loop(settings, database)):
        wait_for(ready, "264", *ENDED)
        write_clip(export, tiny_clip(12), [0, 3, 6, 11], with_images=False)
        with export.open("rb") as stream:
            assert ready.receive("264.zip", stream).state is JobState.READY
        run = ready.start_run("264", RunOptions(mode=Mode.RESEGMENT, frames="3"))
        assert run.frames_total < 9
        wait_for(ready, "264", *ENDED)
    job = ready.job("264").job
    assert (job.state, job.results) == (JobState.COMPLETED, (2, 1))
    assert ready.result("264") != ready.result("264", 1)


def test_a_worker_asked_to_stop_hands_its_span_back_and_another_goes_on(
    jobs: Jobs, settings: Settings, database: Database, tmp_path: Path
) -> None:
    long = write_clip(tmp_path / "long.zip", tiny_clip(400), [0])
    with long.open("rb") as stream:
        jobs.receive("long.zip", stream)
    jobs.start_run("long", RunOptions())
    first = a_loop(settings, database, "first")
    with running(first):
        pause = threading.Event()
        # Looks at the file, not at the database: that may take longer than all frames do.
        while not any(file.stat().st_size > 1000 for file in span_files(jobs, "long")):
            pause.wait(0.001)
    run = jobs.job("long").runs[0]
    assert run.spans[1].state is SpanState.QUEUED
    assert run.spans[1].attempts == 0
    assert jobs.workers() == ()
    before = run.frames_done
    with running(a_loop(settings, database, "second")):
        wait_for(jobs, "long", *ENDED)
    out = tmp_path / "local.zip"
    track(long, out, options=RunOptions(), settings=settings)
    assert before < 400
    assert jobs.result("long").read_bytes() == out.read_bytes()


def test_a_cancelled_run_stops_at_the_next_frame_and_a_retry_completes_it(
    jobs: Jobs, settings: Settings, database: Database, tmp_path: Path
) -> None:
    long = write_clip(tmp_path / "long.zip", tiny_clip(400), [0])
    with long.open("rb") as stream:
        jobs.receive("long.zip", stream)
    jobs.start_run("long", RunOptions())
    with running(a_loop(settings, database)):
        wait_for(jobs, "long", JobState.RUNNING)
        jobs.cancel("long")
        pause = threading.Event()
        while any(worker.doing for worker in jobs.workers()):
            pause.wait(0.05)
        assert jobs.job("long").job.state is JobState.FAILED
        jobs.retry("long")
        wait_for(jobs, "long", JobState.COMPLETED)


def test_an_error_of_ours_fails_the_run_after_its_attempts_and_no_other_run(
    ready: Jobs, settings: Settings, database: Database, export: Path
) -> None:
    with export.open("rb") as stream:
        ready.receive("265.zip", stream)
    ready.start_run("264", RunOptions())
    ready.start_run("265", RunOptions())
    with database.write() as session:  # as if the disk had garbled our own row
        session.execute(update(Run).where(Run.job_id == "264").values(plan="{}"))
    with running(a_loop(settings, database)):
        wait_for(ready, "265", *ENDED)
        wait_for(ready, "264", *ENDED)
    assert ready.job("265").job.state is JobState.COMPLETED
    failed = ready.job("264")
    assert "after 4 attempts" in failed.job.reason
    assert "KeyError" in failed.job.reason


def test_a_fault_of_the_export_fails_the_run_at_once_with_its_sentence(
    jobs: Jobs, settings: Settings, database: Database, tmp_path: Path
) -> None:
    path = write_clip(tmp_path / "9.zip", tiny_clip(12), [0])
    with path.open("rb") as stream:
        jobs.receive("9.zip", stream)
    jobs.start_run("9", RunOptions(engine="no-such-engine"))
    with running(a_loop(settings, database)):
        wait_for(jobs, "9", *ENDED)
    job = jobs.job("9")
    assert "no-such-engine" in job.job.reason
    assert job.runs[0].spans[0].attempts == 1


def test_delete_zip_is_left_to_whoever_watches_the_folder_and_then_done(
    ready: Jobs, settings: Settings, database: Database, export: Path, tmp_path: Path
) -> None:
    settings.downloads_path.mkdir()
    archive = settings.downloads_path / "264.zip"
    archive.write_bytes(export.read_bytes())
    ready.start_run("264", RunOptions(delete_zip=True))
    elsewhere = replace(settings, downloads_path=tmp_path / "unknown")
    with running(a_loop(elsewhere, database)):
        wait_for(ready, "264", *ENDED)
    assert archive.exists()
    Watch(ready).poll()
    assert not archive.exists()
    assert ready.result("264").is_file()


def test_delete_zip_keeps_the_archive_when_the_result_is_gone(
    ready: Jobs, settings: Settings, database: Database, export: Path
) -> None:
    settings.downloads_path.mkdir()
    archive = settings.downloads_path / "264.zip"
    archive.write_bytes(export.read_bytes())
    ready.start_run("264", RunOptions(delete_zip=True))
    with running(a_loop(settings, database)):
        wait_for(ready, "264", *ENDED)
    ready.result("264").unlink()
    Watch(ready).poll()
    assert archive.exists()
    assert "the published result cannot be read" in ready.job("264").log[-1].text


def test_delete_zip_keeps_an_archive_that_is_another_one_by_now(
    ready: Jobs, settings: Settings, database: Database
) -> None:
    settings.downloads_path.mkdir()
    archive = write_clip(settings.downloads_path / "264.zip", tiny_clip(12), [0, 1])
    other = settings.downloads_path / "64.zip"
    other.write_bytes(archive.read_bytes())
    ready.start_run("264", RunOptions(delete_zip=True))
    with running(a_loop(settings, database)):
        wait_for(ready, "264", *ENDED)
    Watch(ready).poll()
    assert archive.exists()
    assert other.exists()
    assert "was kept" in ready.job("264").log[-1].text


def test_a_worker_reads_the_masks_of_a_run_once_and_anew_when_the_file_changes(
    tmp_path: Path,
) -> None:
    """Promise: a large export costs its reading once, not once a span; nothing stale is used."""
    path = write_clip(tmp_path / "e.zip", tiny_clip(6), [0, 3])
    inputs = RunInputs(
        annotations=path, images=path, previous=None, options=RunOptions(), engine="flow",
        ignore_labels=frozenset(), limits=Limits(),
    )  # fmt: skip
    plan = plan_run(inputs)
    recent = RecentSeeds()
    first = recent.of(inputs, plan)
    assert sorted(first) == [0, 3]
    assert recent.of(inputs, plan) is first
    write_clip(path, tiny_clip(6, objects=1), [0, 3])
    assert [len(shapes) for shapes in recent.of(inputs, plan).values()] == [1, 1]
    none = RecentSeeds(most_bytes=0)
    assert none.of(inputs, plan) is not none.of(inputs, plan)
