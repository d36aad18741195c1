"""Promise: what the tool before this one was known to get wrong is right here, one test for each.

Which those are was told by the people who used it. Each test says which promise it keeps.
"""

from __future__ import annotations

from dataclasses import replace
from itertools import chain
from pathlib import Path

import pytest

from config import Settings
from cvat_io.model import MaskShape
from errors import NotFoundError
from jobs.db import Database
from jobs.options import Mode, RunOptions
from jobs.service import Jobs
from jobs.views import JobState, JobView, RunState
from tests.helpers.clips import contents, masks_by_frame, png, shapes_of, tiny_clip, write_clip
from tests.helpers.trips import exported, key_frames, plan_of, run
from tests.worker.loops import a_loop, running, wait_for

CLIP = tiny_clip(12)


def corrected(folder: Path, frames: dict[int, list[MaskShape]], keys: tuple[int, ...]) -> Path:
    """An export after our result for the key frames `keys` was imported and `frames` redrawn."""
    first, previous = folder / "first.zip", folder / "previous.zip"
    run(write_clip(first, CLIP, keys), previous)
    now = exported(previous) | frames
    return write_clip(folder / "now.zip", CLIP, (), masks=[*chain(*now.values())])


def moved(frame: int) -> list[MaskShape]:
    """The masks of a frame as a human corrects them."""
    return [
        replace(shape, mask=replace(shape.mask, top=shape.mask.top + 1))
        for shape in shapes_of(CLIP, frame, frame)
    ]


def again(folder: Path, export: Path) -> Path:
    """The result of re-segmenting it."""
    out = folder / "again.zip"
    run(export, out, previous=folder / "previous.zip", mode=Mode.RESEGMENT)
    return out


def send(jobs: Jobs, path: Path, name: str = "") -> JobView:
    with path.open("rb") as stream:
        return jobs.receive(name or path.name, stream)


def test_nothing_is_tracked_through_the_next_human_key_frame(tmp_path: Path) -> None:
    """It ran over key frames. Promise: no human frame is crossed or altered."""
    export = corrected(tmp_path, {3: moved(3)}, (0, 6))
    result = again(tmp_path, export)
    before, after = masks_by_frame(tmp_path / "previous.zip"), masks_by_frame(result)
    drawn = masks_by_frame(export)
    assert contents(after[3]) == contents(drawn[3])
    assert contents(after[6]) == contents(before[6])
    assert all(contents(after[frame]) == contents(before[frame]) for frame in range(7, 12))


def test_spans_never_overlap(tmp_path: Path) -> None:
    """It computed frames twice, and the later pass won. Promise: each frame is of one span."""
    export = corrected(tmp_path, {frame: moved(frame) for frame in (2, 4, 5, 9)}, (0, 6))
    spans = plan_of(export, tmp_path / "previous.zip").plan.spans
    frames = [frame for span in spans for frame in range(span.start, span.stop + 1)]
    assert frames == sorted(set(frames)) == [1, 3, 7, 8, 10, 11]


def test_a_correction_on_the_last_frame_is_kept(tmp_path: Path) -> None:
    """It lost them. Promise: the last frame is a frame like any other."""
    export = corrected(tmp_path, {11: moved(11)}, (0, 6))
    result = again(tmp_path, export)
    assert key_frames(result) == [0, 6, 11]
    assert contents(masks_by_frame(result)[11]) == contents(moved(11))


@pytest.mark.parametrize("keys", [(0,), (11,), (3, 4), (0, 11), tuple(range(12))])
def test_key_frames_at_either_end_side_by_side_or_everywhere_are_right(
    tmp_path: Path, keys: tuple[int, ...]
) -> None:
    """It failed on adjacent key frames. Promise: whatever is drawn, all other frames are filled."""
    export = write_clip(tmp_path / "e.zip", CLIP, keys)
    report = run(export, tmp_path / "r.zip")
    before, after = masks_by_frame(export), masks_by_frame(tmp_path / "r.zip")
    assert sorted(after) == list(range(12))
    assert all(contents(after[key]) == contents(before[key]) for key in keys)
    assert report["frames_tracked"] == 12 - len(keys)
    assert report["objects"] == 2


def test_a_run_that_failed_is_shown_as_failed_and_gives_no_result(
    jobs: Jobs, settings: Settings, database: Database, tmp_path: Path
) -> None:
    """It showed failures as done. Promise: done means a verified result, else it says why not."""
    path = write_clip(tmp_path / "9.zip", CLIP, (0,))
    damaged = path.read_bytes().replace(png(CLIP.images[5])[-400:-40], b"\0" * 360)
    path.write_bytes(damaged)
    send(jobs, path)
    jobs.start_run("9", RunOptions(engine="flow"))
    with running(a_loop(settings, database)):
        wait_for(jobs, "9", JobState.FAILED)
    detail = jobs.job("9")
    assert detail.runs[0].state is RunState.FAILED
    assert "frame_000005.PNG" in detail.job.reason
    assert detail.job.results == ()
    with pytest.raises(NotFoundError, match="no result yet"):
        jobs.result("9")


def test_exact_names_decide_so_that_5_never_touches_15(jobs: Jobs, export: Path) -> None:
    """It looked for "5.zip" inside "15.zip". Promise: jobs are told apart by their whole names."""
    send(jobs, export, "5.zip")
    send(jobs, export, "15.zip")
    write_clip(export, tiny_clip(12), [0, 4])
    send(jobs, export, "5.zip")
    assert jobs.job("15").job.revision.number == 1
    assert jobs.job("5").job.revision.number == 2


def test_300_objects_come_back_as_300(tmp_path: Path) -> None:
    """Its ids ended at 255. Promise: as many objects as a human draws."""
    clip = tiny_clip(3, objects=300, width=640, height=480)
    report = run(write_clip(tmp_path / "e.zip", clip, (0, 2)), tmp_path / "r.zip")
    assert report["objects"] == 300
    assert len(masks_by_frame(tmp_path / "r.zip")[1]) == 300


def test_start_and_step_are_kept_and_deleted_frames_stay_empty(tmp_path: Path) -> None:
    """It ignored the frame step. Promise: frame numbers are CVAT's own, in and out."""
    clip = tiny_clip(8)
    export = write_clip(tmp_path / "e.zip", clip, (0, 5), start=100, step=3, deleted=frozenset({2}))
    run(export, tmp_path / "r.zip")
    assert sorted(masks_by_frame(tmp_path / "r.zip")) == [100, 103, 109, 112, 115, 118, 121]


def test_occluded_z_order_and_attributes_go_through(tmp_path: Path) -> None:
    """It dropped them. Promise: what CVAT keeps of a mask comes back, and goes on to our masks."""
    drawn = [
        replace(shape, occluded=True, z_order=3, group_id=2, attributes=(("track_id", "x"),))
        if shape.label == "object"
        else shape
        for shape in shapes_of(CLIP, 4, 4)
    ]
    export = write_clip(tmp_path / "e.zip", CLIP, (), masks=drawn)
    run(export, tmp_path / "r.zip")
    found = masks_by_frame(tmp_path / "r.zip")
    assert contents(found[4]) == contents(drawn)
    for frame in (0, 11):
        (one,) = (shape for shape in found[frame] if shape.label == "object")
        beside = (one.occluded, one.z_order, one.group_id, one.attributes)
        assert beside == (True, 3, 2, (("track_id", "x"),))


def test_the_same_job_sent_again_is_a_new_revision_and_ready(jobs: Jobs, export: Path) -> None:
    """It refused a second upload of a job. Promise: the same name with new content is welcome."""
    send(jobs, export)
    write_clip(export, tiny_clip(12), [0, 4])
    job = send(jobs, export)
    assert (job.revision.number, job.state) == (2, JobState.READY)
    assert job.revision.key_frames == (0, 4)
