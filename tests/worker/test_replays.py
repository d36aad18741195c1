"""Promise: an engine that remembers all frames goes on after a kill as if nothing had happened.

DeAOT with generated weights, through the same spans, files and attempts as every other engine.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from bench.golden import GOLDEN, golden_network
from config import Limits
from jobs.options import MemoryKeeps, RunOptions
from jobs.plan import RunInputs, plan_run
from tests.helpers.clips import tiny_clip, write_clip
from tests.worker.spans import compute
from tracker import models
from worker.spanfile import SpanFile

pytestmark = pytest.mark.skipif(not GOLDEN.is_dir(), reason="../shared/deaot is not here")
FRAMES = 9


@pytest.fixture(scope="module", autouse=True)
def _weights(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """MODEL_DIR with a file of DeAOT-T such as the published one."""
    folder = tmp_path_factory.mktemp("models")
    network = golden_network("DeAOTT", GOLDEN / "DeAOTT_overrides.npz")
    torch.save({"state_dict": network.state_dict()}, folder / "DeAOTT_PRE_YTB_DAV.pth")
    before = models.folder()
    models.use_folder(folder)
    yield
    models.use_folder(before)


def given(folder: Path, **options: object) -> RunInputs:
    export = write_clip(folder / "e.zip", tiny_clip(FRAMES, objects=2), (0, FRAMES - 1))
    return RunInputs(
        annotations=export,
        images=export,
        previous=None,
        options=RunOptions(**options),  # type: ignore[arg-type]
        engine="deaot-t",
        ignore_labels=frozenset(),
        limits=Limits(),
    )


def test_a_successor_gives_the_bytes_of_an_undisturbed_attempt(tmp_path: Path) -> None:
    inputs = given(tmp_path)
    plan = plan_run(inputs)
    (span,) = plan.spans
    calm = compute(inputs, plan, span, tmp_path / "calm").file.read_bytes()
    wild = tmp_path / "wild"
    # Stops on the way forward, on the way back, and while earlier frames are shown again.
    for fence, stop_after in enumerate((3, 4, 9, 2, 2), start=1):
        compute(inputs, plan, span, wild, fence=fence, stop_after=stop_after)
    outcome = compute(inputs, plan, span, wild, fence=9)
    assert not outcome.stopped
    assert outcome.file.read_bytes() == calm


def test_one_that_is_told_to_stop_while_it_replays_has_not_finished(tmp_path: Path) -> None:
    inputs = given(tmp_path)
    plan = plan_run(inputs)
    (span,) = plan.spans
    compute(inputs, plan, span, tmp_path / "jobs", fence=1, stop_after=5)
    again = compute(inputs, plan, span, tmp_path / "jobs", fence=2, stop_after=2)
    assert again.stopped


def test_how_much_is_remembered_is_an_option_of_the_run(tmp_path: Path) -> None:
    folders = [tmp_path / name for name in ("own", "often", "newest")]
    for folder in folders:
        folder.mkdir()
    own = given(folders[0])
    often = given(folders[1], memory_gap=1, memory_frames=2)
    newest = given(folders[2], memory_gap=1, memory_frames=2, memory_keeps=MemoryKeeps.NEWEST)
    found = []
    for folder, inputs in zip(folders, (own, often, newest), strict=True):
        plan = plan_run(inputs)
        (span,) = plan.spans
        file = SpanFile(compute(inputs, plan, span, folder / "spans").file)
        found.append([file.read(frame).labels(48, 64).tolist() for frame in file.frames])
    assert found[0] != found[1] != found[2] != found[0]
