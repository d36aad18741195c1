"""Promise: a worker that computes several spans keeps for each what the queue promises of one."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from bench.golden import GOLDEN, golden_network
from config import Settings
from jobs.options import Direction, RunOptions
from jobs.service import Jobs
from jobs.views import JobState, SpanState
from tests.helpers.clips import tiny_clip, write_clip
from tests.worker.loops import a_crew, wait_for
from worker.local import track
from worker.spanfile import SpanFile

LONG = 120  # frames of a span that is not over before a test has looked at it


def receive(
    jobs: Jobs, folder: Path, name: str, keys: list[int], frames: int = LONG, engine: str = "flow"
) -> Path:
    export = write_clip(folder / f"{name}.zip", tiny_clip(frames), keys)
    with export.open("rb") as stream:
        jobs.receive(export.name, stream)
    jobs.start_run(name, RunOptions(direction=Direction.FORWARD, engine=engine))
    return export


def wait_until(what: Callable[[], bool]) -> None:
    pause = threading.Event()
    for _ in range(2400):
        if what():
            return
        pause.wait(0.02)
    raise AssertionError("it did not come to that")


def doing(jobs: Jobs) -> str:
    """What the one worker says that it does."""
    (worker,) = jobs.workers()
    return worker.doing


def test_two_spans_of_a_run_are_computed_at_once_by_one_worker_that_names_both(
    jobs: Jobs, settings: Settings, tmp_path: Path
) -> None:
    export = receive(jobs, tmp_path, "long", [0, LONG // 2])
    with a_crew(settings, 2):
        wait_until(lambda: bool(jobs.workers()) and doing(jobs).count("job long, frames ") == 2)
        assert doing(jobs).startswith("2 spans: job long, frames ")
        run = jobs.job("long").runs[0]
        leased = [span for span in run.spans if span.state is SpanState.LEASED]
        assert [span.worker for span in leased] == ["w", "w"]
        assert jobs.health().workers == 1
        wait_for(jobs, "long", JobState.COMPLETED)
    assert jobs.workers() == ()
    out = tmp_path / "local.zip"
    track(
        export,
        out,
        options=RunOptions(direction=Direction.FORWARD, engine="flow"),
        settings=settings,
    )
    assert jobs.result("long").read_bytes() == out.read_bytes()


@pytest.mark.skipif(not GOLDEN.is_dir(), reason="../shared/deaot is not here")
def test_spans_that_share_a_network_get_the_masks_of_spans_alone(
    jobs: Jobs, settings: Settings, tmp_path: Path
) -> None:
    """DeAOT with generated weights: two spans of a run by one worker, at once and one by one."""
    settings = replace(settings, model_dir=tmp_path, threads=1)
    network = golden_network("DeAOTT", GOLDEN / "DeAOTT_overrides.npz")
    torch.save(network.state_dict(), tmp_path / "DeAOTT_PRE_YTB_DAV.pth")
    masks = []
    for spans, name in ((2, "together"), (1, "alone")):
        receive(jobs, tmp_path, name, [0, 8], frames=16, engine="deaot-t")
        with a_crew(settings, spans):
            wait_for(jobs, name, JobState.COMPLETED)
        run = jobs.job(name).runs[0]
        assert all(span.attempts == 1 for span in run.spans)
        files = [SpanFile(file) for file in sorted(jobs.files.spans(name, 1, 1).glob("?.1.jsonl"))]
        masks.append([file.read(frame).labels(48, 64) for file in files for frame in file.frames])
    assert len(masks[0]) == 14
    assert np.mean(np.stack(masks[0]) == np.stack(masks[1])) >= 0.9999


def test_a_cancelled_run_stops_and_the_other_span_of_the_worker_goes_on(
    jobs: Jobs, settings: Settings, tmp_path: Path
) -> None:
    for name in ("kept", "dropped"):
        receive(jobs, tmp_path, name, [0])
    with a_crew(settings, 2):
        wait_until(lambda: bool(jobs.workers()) and doing(jobs).count(", frames ") == 2)
        jobs.cancel("dropped")
        wait_until(lambda: "dropped" not in doing(jobs))
        stopped = jobs.job("dropped").runs[0]
        assert stopped.frames_done < LONG - 1
        wait_for(jobs, "kept", JobState.COMPLETED)
    assert jobs.job("dropped").runs[0].frames_done == stopped.frames_done
    assert all(span.attempts == 1 for span in jobs.job("kept").runs[0].spans)


def test_a_worker_that_is_stopped_hands_both_spans_back_unharmed(
    jobs: Jobs, settings: Settings, tmp_path: Path
) -> None:
    for name in ("one", "two"):
        receive(jobs, tmp_path, name, [0])
    with a_crew(settings, 2):
        wait_until(lambda: bool(jobs.workers()) and doing(jobs).count(", frames ") == 2)
    assert jobs.workers() == ()
    for name in ("one", "two"):
        span = jobs.job(name).runs[0].spans[1]
        assert (span.state, span.attempts) == (SpanState.QUEUED, 0)


def test_a_span_that_fails_costs_the_other_nothing(
    jobs: Jobs, settings: Settings, tmp_path: Path
) -> None:
    """One run's engine is none; the sentence for people ends that run alone."""
    receive(jobs, tmp_path, "sound", [0], frames=30)
    export = write_clip(tmp_path / "bad.zip", tiny_clip(12), [0])
    with export.open("rb") as stream:
        jobs.receive(export.name, stream)
    jobs.start_run("bad", RunOptions(engine="no-such-engine"))
    with a_crew(settings, 2):
        wait_for(jobs, "sound", JobState.COMPLETED)
        wait_for(jobs, "bad", JobState.FAILED)
    assert "no-such-engine" in jobs.job("bad").job.reason
    assert all(span.attempts == 1 for span in jobs.job("sound").runs[0].spans)
