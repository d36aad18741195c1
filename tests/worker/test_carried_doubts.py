"""Promise: a re-segmentation forgets nothing of what earlier runs said of the masks that stay."""

from __future__ import annotations

import json
import zlib
from base64 import b64decode
from collections.abc import Callable
from dataclasses import asdict, replace
from itertools import chain, pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from config import Settings
from jobs.db import Database
from jobs.layer_views import Presence
from jobs.options import KeyFrames, Mode, RunOptions
from jobs.service import Jobs
from jobs.views import JobState
from tests.helpers.clips import tiny_clip, write_clip
from tests.helpers.trips import exported
from tests.worker.loops import a_loop, running, wait_for

Report = dict[str, Any]
Run = Callable[[Path, RunOptions], Report]
FLOW = RunOptions(engine="flow")
AGAIN = RunOptions(engine="flow", mode=Mode.RESEGMENT)


@pytest.fixture
def run_job(jobs: Jobs, settings: Settings, database: Database) -> Run:
    """Take an export of job 264 in, run it, and give its report."""

    def run(export: Path, options: RunOptions) -> Report:
        with export.open("rb") as stream:
            jobs.receive("264.zip", stream)
        jobs.start_run("264", options)
        with running(a_loop(settings, database)):
            wait_for(jobs, "264", JobState.COMPLETED)
        found: Report = json.loads(jobs.report("264").read_text())
        return found

    return run


def noise_in_frames_13_to_18() -> Any:
    clip = tiny_clip(24)
    lots = np.random.default_rng(5)
    images = [
        lots.integers(0, 255, image.shape, dtype=np.uint8) if 13 <= i <= 18 else image
        for i, image in enumerate(clip.images)
    ]
    return replace(clip, images=images)


def corrected(jobs: Jobs, tmp_path: Path, clip: Any, frame: int) -> Path:
    """CVAT's export of our latest result, with a frame's masks one pixel lower."""
    now = exported(jobs.result("264"))
    now[frame] = [replace(s, mask=replace(s.mask, top=s.mask.top + 1)) for s in now[frame]]
    return write_clip(tmp_path / f"again-{frame}.zip", clip, (), masks=[*chain(*now.values())])


def of_frames(report: Report, frames: range) -> dict[tuple[int, int], float]:
    return {
        (each["frame"], each["object"]): each["score"]
        for each in report["divergence"]
        if each["frame"] in frames
    }


def test_what_was_doubted_before_a_correction_elsewhere_is_doubted_still(
    jobs: Jobs, run_job: Run, tmp_path: Path
) -> None:
    """Frames 13 to 18 are noise; a person corrects frame 5 first, and then frame 7."""
    clip = noise_in_frames_13_to_18()
    first = run_job(write_clip(tmp_path / "264.zip", clip, (0, 10, 23)), FLOW)
    assert first["next_frame"]["frame"] in range(11, 23)
    assert first["flagged_frames"] >= 6
    run = jobs.job("264").job.run
    assert run is not None
    assert run.next_frame is not None, "the list of jobs knows it too"
    assert asdict(run.next_frame) == {"run": 1, **first["next_frame"]}
    before = first
    for frame in (5, 7):
        report = run_job(corrected(jobs, tmp_path, clip, frame), AGAIN)
        assert report["frames_tracked"] < 10
        assert report["next_frame"]["frame"] == before["next_frame"]["frame"]
        assert report["next_frame"]["score"] == before["next_frame"]["score"]
        assert report["next_frame"]["repairs"] == pytest.approx(
            before["next_frame"]["repairs"], abs=0.5
        )
        far = range(11, 23)
        assert of_frames(report, far) == of_frames(before, far)
        marked = {each["frame"] for each in report["divergence"] if each.get("carried")}
        made = {each["frame"] for each in report["divergence"]} - marked
        assert marked >= set(far)
        assert len(made) == report["frames_tracked"]
        assert not marked & {0, 5, 10, 23}
        frames = [each["frame"] for each in report["divergence"]]
        assert all(one <= other for one, other in pairwise(frames))
        growth = jobs.job("264").growth
        scores = [each["score"] for each in report["divergence"]]
        assert growth is not None
        assert growth.expected_iou == pytest.approx(1 - np.mean(scores), abs=1e-3)
        before = report


def test_what_a_person_accepts_names_the_next_frame_too(
    jobs: Jobs, run_job: Run, tmp_path: Path
) -> None:
    run_job(write_clip(tmp_path / "264.zip", noise_in_frames_13_to_18(), (0, 10, 23)), FLOW)
    jobs.sessions.view("264")
    jobs.sessions.set_key("264", 5, True)
    done = jobs.sessions.accept("264", None)
    run = jobs.job("264").job.run
    assert run is not None
    assert run.next_frame is not None
    assert 11 <= run.next_frame.frame <= 22
    report = json.loads(jobs.report("264", done.run).read_text(encoding="utf-8"))
    assert asdict(run.next_frame) == {"run": done.run, **report["next_frame"]}


def test_the_timeline_still_tells_what_was_carried_from_what_was_made(
    jobs: Jobs, run_job: Run, tmp_path: Path
) -> None:
    clip = noise_in_frames_13_to_18()
    run_job(write_clip(tmp_path / "264.zip", clip, (0, 10, 23)), FLOW)
    report = run_job(corrected(jobs, tmp_path, clip, 5), AGAIN)
    timeline = json.loads(zlib.decompress(jobs.layers.timeline("264", "run-2").body.zlib))
    lane = timeline["objects"][0]
    presence = np.frombuffer(b64decode(lane["presence"]), dtype=np.uint8)
    made = {e["frame"] for e in report["divergence"] if not e.get("carried")}
    assert {int(i) for i in np.flatnonzero(presence == Presence.COMPUTED)} == made
    assert Presence.CARRIED in presence[11:23]
    assert timeline["worst"][0]["frame"] == report["next_frame"]["frame"]


def test_frames_that_were_not_computed_with_partial_key_frames_are_remembered_too(
    jobs: Jobs, run_job: Run, tmp_path: Path
) -> None:
    clip = noise_in_frames_13_to_18()
    partial = replace(FLOW, keyframes=KeyFrames.PARTIAL)
    first = run_job(write_clip(tmp_path / "264.zip", clip, (0, 10, 23)), partial)
    options = replace(AGAIN, keyframes=KeyFrames.PARTIAL)
    report = run_job(corrected(jobs, tmp_path, clip, 5), options)
    assert of_frames(report, range(11, 23)) == of_frames(first, range(11, 23))


def test_an_initial_run_takes_nothing_of_an_earlier_one(
    jobs: Jobs, run_job: Run, tmp_path: Path
) -> None:
    clip = noise_in_frames_13_to_18()
    export = write_clip(tmp_path / "264.zip", clip, (0, 10, 23))
    run_job(export, FLOW)
    report = run_job(export, replace(FLOW, frames="1-9"))
    assert {each["frame"] for each in report["divergence"]} == set(range(1, 10))


@pytest.mark.parametrize("damage", ["gone", "cut"])
def test_a_lost_report_costs_the_memory_only(
    jobs: Jobs, run_job: Run, tmp_path: Path, damage: str
) -> None:
    clip = noise_in_frames_13_to_18()
    run_job(write_clip(tmp_path / "264.zip", clip, (0, 10, 23)), FLOW)
    again, report = corrected(jobs, tmp_path, clip, 5), jobs.report("264")
    if damage == "gone":
        report.unlink()
    else:
        report.write_bytes(report.read_bytes()[:-400])
    assert run_job(again, AGAIN)["frames_tracked"] == 8
