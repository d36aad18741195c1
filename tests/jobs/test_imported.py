"""Promise: whether an export knows our result is told by its masks, and said where it does not."""

from __future__ import annotations

from pathlib import Path

import pytest

from cvat_io.model import MaskShape
from tests.helpers.clips import masks_by_frame, shapes_of, write_clip
from tests.helpers.trips import key_frames, plan_of
from tests.worker.test_rounds import CLIP, Rounds, drawn, moved

SAID = "seems not to have been imported"


def redrawn(*frames: int) -> dict[int, list[MaskShape]]:
    """What a person draws without our masks: a pixel beside them."""
    return {f: moved(moved(shapes_of(CLIP, f, f), "thing"), "object") for f in frames}


def notes(job: Rounds, folder: Path, now: dict[int, list[MaskShape]], **options: str) -> str:
    masks = [shape for shapes in now.values() for shape in shapes]
    export = write_clip(folder / "looked.zip", CLIP, (), masks=masks)
    return " ".join(plan_of(export, job.result, **options).plan.notes)


def test_who_drew_half_of_the_frames_without_our_result_deleted_nothing(tmp_path: Path) -> None:
    job = Rounds(tmp_path, drawn(0))
    now = {0: shapes_of(CLIP, 0, 0), **redrawn(1, 2, 3, 4, 5)}
    assert SAID in notes(job, tmp_path, now)
    job.correct(now)
    assert key_frames(job.result) == [0, 1, 2, 3, 4, 5]
    assert sorted(masks_by_frame(job.result)) == list(range(10))


def test_who_emptied_frames_of_our_result_is_believed(tmp_path: Path) -> None:
    job = Rounds(tmp_path, drawn(0))
    now = {**job.exported(), **redrawn(1, 2, 3, 4)}
    del now[8], now[9]
    assert SAID not in notes(job, tmp_path, now)
    job.correct(now)
    assert sorted(masks_by_frame(job.result)) == list(range(8))


@pytest.mark.parametrize("filled", ["5", "5-6"])
def test_where_all_that_we_filled_is_empty_it_is_said_and_can_be_overruled(
    tmp_path: Path, filled: str
) -> None:
    job = Rounds(tmp_path, drawn(0, 9), frames=filled)
    now = {f: shapes for f, shapes in job.exported().items() if f in (0, 9)}
    now[9] = moved(now[9], "thing")
    assert SAID in notes(job, tmp_path, now)
    job.correct(now, frames=filled)
    assert 5 not in masks_by_frame(job.result)
