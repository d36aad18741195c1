"""Promise: two real workers over a real queue give the very result that one process gives.

Runs on the embedded pair (Valkey, SQLite), and on RabbitMQ with PostgreSQL where these answer
(BROKER_URL, DATABASE_URL, or the local default ports); REQUIRE_SERVICES=1 makes them a must.
"""

from __future__ import annotations

import os
import signal
import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import pytest

from config import Settings
from jobs import broker
from jobs.options import RunOptions
from jobs.service import Jobs
from jobs.views import JobState, SpanState, SpanView
from tests.helpers.clips import Clip, tiny_clip, write_clip
from worker.local import track

ROOT = Path(__file__).parents[2]
ENDED = (JobState.COMPLETED, JobState.FAILED)
QUICK = RunOptions(engine="builtin-fast")
FLOW = RunOptions(engine="flow")  # learns nothing: what is tested here is the queue


@pytest.fixture(
    params=[
        "embedded",
        pytest.param("services", marks=[pytest.mark.rabbitmq, pytest.mark.postgres]),
    ]
)
def settings(request: pytest.FixtureRequest, tmp_path: Path) -> Settings:
    base = Settings(data_dir=tmp_path / "data", downloads_path=tmp_path / "downloads")
    if request.param == "embedded":
        return base
    use = request.getfixturevalue("rabbitmq")
    base = replace(base, database_url=request.getfixturevalue("postgres_url"))
    return replace(base, broker_url=use(base))


@pytest.fixture
def long_export(tmp_path: Path) -> Path:
    """Enough frames that a worker can be disturbed in the middle."""
    return write_clip(tmp_path / "77.zip", tiny_clip(300, width=320, height=240), [0])


@pytest.fixture
def endless_export(tmp_path: Path) -> Path:
    """So many frames that no machine is through with them before a slow stop reaches it."""
    clip = tiny_clip(30, width=160, height=120)
    many = Clip([*clip.images] * 100, [*clip.maps] * 100, clip.kinds)
    return write_clip(tmp_path / "78.zip", many, [0])


@contextmanager
def worker(settings: Settings, name: str, log: Path) -> Iterator[subprocess.Popen[bytes]]:
    """A worker as a person starts it; killed in the end if it still runs."""
    env = {
        **os.environ,
        "DATA_DIR": str(settings.data_dir),
        "DATABASE_URL": settings.database_url,
        "BROKER_URL": settings.broker_url,
        "DOWNLOADS_PATH": str(settings.downloads_path),
    }
    with (log / f"{name}.log").open("wb") as output:
        process = subprocess.Popen(
            ["./start_worker.sh", name],
            cwd=ROOT,
            env=env,
            stdout=output,
            stderr=output,
        )
        try:
            yield process
        finally:
            process.kill()
            process.wait()


def first_span(jobs: Jobs, job_id: str) -> SpanView:
    """The first span that has frames."""
    return next(span for span in jobs.job(job_id).runs[0].spans if span.ordinal == 0)


def receive(jobs: Jobs, export: Path) -> str:
    with export.open("rb") as stream:
        return jobs.receive(export.name, stream).id


def wait_until(jobs: Jobs, job_id: str, *states: JobState) -> None:
    pause = threading.Event()
    for _ in range(6000):
        if jobs.job(job_id).job.state in states:
            return
        pause.wait(0.05)
    raise AssertionError(jobs.job(job_id))


def lines_written(jobs: Jobs, job_id: str) -> int:
    """How far the attempt at the first span is that came furthest."""
    files = jobs.files.spans(job_id, 1, 1).glob("0.*.jsonl")
    return max((file.read_bytes().count(b"\n") for file in files), default=0)


def wait_for_frames(jobs: Jobs, job_id: str, more_than: int) -> None:
    """Wait until a worker has written more than that many lines, and some frames."""
    pause = threading.Event()
    for _ in range(60000):
        if lines_written(jobs, job_id) > more_than + 10:
            return
        pause.wait(0.005)
    raise AssertionError(jobs.job(job_id))


def wait_for_workers(jobs: Jobs, count: int) -> None:
    pause = threading.Event()
    for _ in range(1200):
        if len(jobs.workers()) == count:
            return
        pause.wait(0.1)
    raise AssertionError(jobs.workers())


def test_two_workers_give_the_result_of_one_process(
    jobs: Jobs, settings: Settings, export: Path, tmp_path: Path
) -> None:
    with worker(settings, "one", tmp_path), worker(settings, "two", tmp_path):
        wait_for_workers(jobs, 2)
        assert jobs.health().broker == "ok"
        job_id = receive(jobs, export)
        jobs.start_run(job_id, FLOW)
        wait_until(jobs, job_id, *ENDED)
    out = tmp_path / "local.zip"
    track(export, out, options=FLOW, settings=settings, device="cpu")
    assert jobs.result(job_id).read_bytes() == out.read_bytes()


def test_a_stopped_worker_hands_back_in_good_order(
    jobs: Jobs, settings: Settings, endless_export: Path, tmp_path: Path
) -> None:
    job_id = receive(jobs, endless_export)
    jobs.start_run(job_id, QUICK)
    with worker(settings, "stopped", tmp_path) as process:
        wait_for_frames(jobs, job_id, 0)
        process.send_signal(signal.SIGTERM)
        assert process.wait(120) == 0
    span = first_span(jobs, job_id)
    assert (span.state, span.attempts) == (SpanState.QUEUED, 0), jobs.job(job_id).log
    assert 0 < span.frames_done < span.frames_total
    assert jobs.workers() == ()


def test_a_killed_worker_is_replaced_and_nobody_can_tell(
    jobs: Jobs, settings: Settings, long_export: Path, tmp_path: Path
) -> None:
    job_id = receive(jobs, long_export)
    jobs.start_run(job_id, FLOW)
    with worker(settings, "killed", tmp_path) as process:
        wait_for_frames(jobs, job_id, 0)
        process.kill()
        process.wait()
    assert first_span(jobs, job_id).state is SpanState.LEASED
    with worker(settings, "last", tmp_path):
        wait_until(jobs, job_id, *ENDED)
    assert first_span(jobs, job_id).worker == "last"
    out = tmp_path / "local.zip"
    track(long_export, out, options=FLOW, settings=settings, device="cpu")
    assert jobs.result(job_id).read_bytes() == out.read_bytes()


def test_work_is_found_while_the_broker_is_away(
    settings: Settings, export: Path, tmp_path: Path
) -> None:
    if settings.broker_url:
        away = replace(settings, broker_url="amqp://guest:guest@127.0.0.1:1//")
    else:
        # A file where the socket's folder should be: the broker cannot start.
        away = settings
        away.data_dir.mkdir(parents=True)
        broker.folder(away.data_dir).write_text("")
    jobs = Jobs(away)
    with worker(away, "alone", tmp_path):
        job_id = receive(jobs, export)
        jobs.start_run(job_id, FLOW)
        wait_until(jobs, job_id, JobState.COMPLETED)
    assert jobs.health().broker.startswith("degraded")
    jobs.close()
