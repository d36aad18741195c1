"""Promise: a job's log says which engine "auto" took and why; none runs on wrong weights."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from config import Settings
from jobs.db import Database
from jobs.options import RunOptions
from jobs.service import Jobs
from jobs.views import JobState, SpanState
from tests.worker.loops import a_loop, running, wait_for


@pytest.fixture
def weights(settings: Settings, tmp_path: Path) -> Settings:
    """The worker's settings, with a MODEL_DIR of its own."""
    (tmp_path / "models").mkdir()
    return replace(settings, model_dir=tmp_path / "models")


def start(jobs: Jobs, export: Path, engine: str) -> None:
    with export.open("rb") as stream:
        jobs.receive("264.zip", stream)
    jobs.start_run("264", RunOptions(engine=engine))


def log(jobs: Jobs) -> list[str]:
    return [event.text for event in jobs.job("264").log]


def test_the_log_says_what_auto_took_and_why_once(
    jobs: Jobs, export: Path, weights: Settings, database: Database
) -> None:
    start(jobs, export, "auto")
    with running(a_loop(weights, database)):
        wait_for(jobs, "264", JobState.COMPLETED)
    said = [line for line in log(jobs) if line.startswith("Auto took")]
    assert said == [
        "Auto took flow for run 1: no weights that auto would take are here, see `relay models`."
    ]
    assert jobs.job("264").runs[0].engine == "flow"


def test_an_engine_that_was_asked_for_is_not_told_of_again(
    jobs: Jobs, export: Path, weights: Settings, database: Database
) -> None:
    start(jobs, export, "flow")
    with running(a_loop(weights, database)):
        wait_for(jobs, "264", JobState.COMPLETED)
    assert not [line for line in log(jobs) if "took" in line]


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (None, "The weights of deaot-t are not here: run `relay models get deaot-t`, or put"),
        (b"<html>", "is a web page, not the weights of deaot-t: delete it and run"),
        (b"PK\x03\x04", "is not whole, or it is damaged: delete it and run"),
    ],
)
def test_a_run_without_the_right_weights_fails_with_one_sentence(
    jobs: Jobs,
    export: Path,
    weights: Settings,
    database: Database,
    content: bytes | None,
    said: str,
) -> None:
    if content is not None:
        (weights.model_dir / "DeAOTT_PRE_YTB_DAV.pth").write_bytes(content)
    start(jobs, export, "deaot-t")
    with running(a_loop(weights, database)):
        wait_for(jobs, "264", JobState.FAILED)
    detail = jobs.job("264")
    assert said in detail.job.reason
    assert str(weights.model_dir) in detail.job.reason
    assert detail.runs[0].frames_done == 0
    assert all(span.attempts <= 1 for span in detail.runs[0].spans)
    assert not any(span.state is SpanState.LEASED for span in detail.runs[0].spans)
