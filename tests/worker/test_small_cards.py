"""Promise: where a graphics card is too small for all of an engine, the job's run, its log, the
report and the terminal say with what it goes on; so they do of an option that changes nothing.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import nn

from config import Settings
from jobs.db import Database
from jobs.options import RunOptions
from jobs.service import Jobs
from jobs.views import JobState
from tests.helpers.clips import tiny_clip, write_clip
from tests.worker.loops import a_loop, running, wait_for
from tracker import models
from tracker.fits import FoundFits
from tracker.propagators import deaot
from tracker.propagators.deaot.encoder import Encoder
from tracker.propagators.deaot.network import DeAOT
from tracker.propagators.deaot.variants import VARIANTS
from worker.local import track

SMALLER = "cpu has too little memory for all of deaot-t: it goes on with ten objects at a time."
UNUSED = "seed changes nothing here: deaot-t draws no random numbers."


@pytest.fixture
def weights(settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Settings:
    """Settings with a MODEL_DIR that holds a network of no worth; nothing was found to fit yet."""
    folder = tmp_path / "models"
    folder.mkdir()
    torch.manual_seed(0)
    file = folder / models.model("deaot-t").file
    torch.save(DeAOT(VARIANTS["DeAOTT"]).state_dict(), file)
    monkeypatch.setattr(deaot, "_FOUND", FoundFits())
    return replace(settings, model_dir=folder)


@contextmanager
def small_card(times: int) -> Iterator[None]:
    """Looking at a frame finds no memory so many times, by PyTorch's own error."""
    left = times

    def allocate(module: nn.Module, given: object) -> None:
        nonlocal left
        if left and isinstance(module, Encoder):
            left -= 1
            raise torch.OutOfMemoryError("there is no room")

    with nn.modules.module.register_module_forward_pre_hook(allocate):
        yield
    assert left == 0


def test_the_queue_tells_of_it_once_in_run_log_and_report(
    jobs: Jobs, weights: Settings, database: Database, tmp_path: Path
) -> None:
    """The run has two spans, and the second one begins with what the first one found."""
    export = write_clip(tmp_path / "264.zip", tiny_clip(7), (0, 3))
    with export.open("rb") as stream:
        jobs.receive("264.zip", stream)
    started = jobs.start_run("264", RunOptions(engine="deaot-t", seed=7))
    assert started.notices == (UNUSED,)
    assert jobs.plan("264", RunOptions(engine="deaot-t", seed=7)).notes == (UNUSED,)
    with small_card(1), running(a_loop(weights, database, "gpu-a")):
        wait_for(jobs, "264", JobState.COMPLETED)
    detail = jobs.job("264")
    assert detail.runs[0].notices == (UNUSED, f"gpu-a: {SMALLER}")
    log = [event.text for event in detail.log]
    assert [line for line in log if "memory" in line] == [f"Run 1: gpu-a: {SMALLER}"]
    assert f"Run 1: {UNUSED}" in log
    report = json.loads(jobs.files.report("264", 1, 1).read_text())
    assert report["notices"] == [UNUSED, f"gpu-a: {SMALLER}"]


def test_relay_track_tells_of_it_once_and_so_does_its_report(
    weights: Settings, tmp_path: Path
) -> None:
    export = write_clip(tmp_path / "264.zip", tiny_clip(7), (0, 3))
    heard: list[str] = []
    with small_card(1):
        report = track(
            export,
            tmp_path / "r.zip",
            options=RunOptions(engine="deaot-t", seed=7),
            settings=weights,
            on_notice=heard.append,
        )
    assert heard == [UNUSED, SMALLER] == report["notices"]


def test_a_want_of_memory_that_nothing_helps_against_is_one_sentence(
    jobs: Jobs, export: Path, weights: Settings, database: Database
) -> None:
    with export.open("rb") as stream:
        jobs.receive("264.zip", stream)
    jobs.start_run("264", RunOptions(engine="deaot-t"))
    with small_card(4), running(a_loop(weights, database)):
        wait_for(jobs, "264", JobState.FAILED)
    detail = jobs.job("264")
    assert "does not fit into this machine's memory in any way" in detail.job.reason
    assert all(span.attempts <= 1 for span in detail.runs[0].spans)
