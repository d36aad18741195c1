"""Promise: over several rounds of corrections nothing that a person said, or we knew, is forgotten.

Each round is a re-segmentation of what CVAT gives back of the result before it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from itertools import chain
from pathlib import Path
from typing import Any

import pytest

from config import Settings
from cvat_io.masks import iou
from cvat_io.model import MaskShape
from cvat_io.reader import open_export
from cvat_io.result import read_note, write_result
from errors import InputError
from jobs.options import Direction, KeyFrames, Mode
from tests.helpers import trips
from tests.helpers.clips import (
    Clip,
    contents,
    hud,
    masks_by_frame,
    shapes_of,
    tiny_clip,
    write_clip,
)
from tests.helpers.trips import LIMITS, exported, key_frames, objects_by_frame, run

CLIP = tiny_clip(10)
FORWARD = {"direction": Direction.FORWARD}


class Rounds:
    """A job: its first export and its newest result."""

    def __init__(
        self, folder: Path, masks: Sequence[MaskShape], clip: Clip = CLIP, **options: Any
    ) -> None:
        self._folder, self._clip = folder, clip
        self.images = write_clip(folder / "first.zip", clip, (), masks=masks)
        self.result = folder / "0.zip"
        run(self.images, self.result, **options)
        self._made = 1

    def exported(self) -> dict[int, list[MaskShape]]:
        """What CVAT gives back of the newest result."""
        return exported(self.result)

    def correct(self, now: dict[int, list[MaskShape]], **options: Any) -> Path:
        """The result of the next round, in which these masks are exported without images."""
        masks = [*chain(*now.values())]
        export = self._folder / "now.zip"
        write_clip(export, self._clip, (), masks=masks, with_images=False)
        out = self._folder / f"{self._made}.zip"
        run(export, out, previous=self.result, images=self.images, mode=Mode.RESEGMENT, **options)
        self.result, self._made = out, self._made + 1
        return out


def drawn(*frames: int, clip: Clip = CLIP) -> list[MaskShape]:
    """The exact masks of some frames."""
    return [shape for frame in frames for shape in shapes_of(clip, frame, frame)]


def without(shapes: Sequence[MaskShape], label: str) -> list[MaskShape]:
    return [shape for shape in shapes if shape.label != label]


def moved(shapes: Sequence[MaskShape], label: str) -> list[MaskShape]:
    """Corrected by a pixel."""
    return [
        replace(s, mask=replace(s.mask, top=s.mask.top + 1)) if s.label == label else s
        for s in shapes
    ]


def placed(shapes: Sequence[MaskShape]) -> list[tuple[str, bool, int]]:
    return sorted((shape.label, shape.occluded, shape.z_order) for shape in shapes)


def frames_of(result: Path, label: str) -> list[int]:
    """Where a result has masks of a label."""
    masks = masks_by_frame(result)
    return [frame for frame in sorted(masks) if any(s.label == label for s in masks[frame])]


def test_the_number_of_an_object_that_a_person_deleted_is_never_given_out_again(
    tmp_path: Path,
) -> None:
    """Promise: none is given out twice, also not rounds later."""
    job = Rounds(tmp_path, drawn(0, 6))
    now = job.exported()
    for frame in (0, 6):
        now[frame] = without(now[frame], "thing")
    job.correct(now)
    assert read_note(job.result)["objects"] == [0, 2]
    now = job.exported()
    new = shapes_of(CLIP, 9, 9)[0]
    now[9].append(replace(new, mask=replace(new.mask, top=30)))
    job.correct(now)
    assert sorted(objects_by_frame(job.result)[9]) == [1, 3]


def test_masks_that_stay_keep_their_object_where_all_its_key_frames_lost_it(
    tmp_path: Path,
) -> None:
    """Promise: what is carried over is still known to be what it was."""
    job = Rounds(tmp_path, drawn(3, 6))
    now = job.exported()
    for frame in (3, 6):
        now[frame] = without(now[frame], "thing")
    job.correct(now, **FORWARD)
    after = objects_by_frame(job.result)
    assert [(n, s.label) for n, s in sorted(after[1].items())] == [(1, "object"), (2, "thing")]


def test_forward_corrections_leave_what_lies_before_them_whatever_else_is_corrected(
    tmp_path: Path,
) -> None:
    """Promise: the frames before a correction stay as they are, in this round and later ones."""
    # On 1 to 9 the thing was found by a backward pass: the key frame before never had it.
    job = Rounds(tmp_path, [*without(drawn(0), "thing"), *drawn(9)])
    now = job.exported()
    before = {frame: [s for s in now[frame] if s.label == "thing"] for frame in range(1, 9)}
    now[9] = without(now[9], "thing")
    now[0] = moved(now[0], "object")
    job.correct(now, **FORWARD)
    assert frames_of(job.result, "thing") == [*range(1, 9)]
    now = job.exported()
    now[0] = moved(now[0], "object")
    job.correct(now, **FORWARD)
    after = job.exported()
    for frame, shapes in before.items():
        assert contents([s for s in after[frame] if s.label == "thing"]) == contents(shapes)


@pytest.mark.parametrize("keyframes", KeyFrames)
def test_what_a_human_placed_stays_where_masks_are_made_anew(
    tmp_path: Path, keyframes: KeyFrames
) -> None:
    """Promise: edits of occluded and z-order survive, whatever key frames mean."""
    job = Rounds(tmp_path, drawn(0))
    now = job.exported()
    now[4] = [replace(shape, occluded=True, z_order=7) for shape in now[4]]
    now[8] = moved(now[8], "object")
    job.correct(now, keyframes=keyframes)
    after = masks_by_frame(job.result)
    assert placed(after[4]) == [("object", True, 7), ("thing", True, 7)]
    assert placed(after[5]) == [("object", False, 0), ("thing", False, 0)]


def test_key_frames_that_a_model_of_cvat_drew_are_a_humans(tmp_path: Path) -> None:
    """Promise: so it is too where the key frames' masks have the source that ours have."""
    job = Rounds(tmp_path, [replace(shape, source="auto") for shape in drawn(0, 9)])
    for frame in (7, 6):  # twice, since what the first round knew must not be lost in the second
        now = job.exported()
        now[0] = [replace(shape, source="auto") for shape in now[0]]  # never left the server
        now[4] = [replace(shape, occluded=True, z_order=frame) for shape in now[4]]
        now[frame] = moved(moved(now[frame], "object"), "thing")
        job.correct(now)
        after = masks_by_frame(job.result)
        assert [s.source for s in after[0]] == ["auto", "auto"]
        assert placed(after[4]) == [("object", True, frame), ("thing", True, frame)]
        assert placed(after[5]) == [("object", False, 0), ("thing", False, 0)]


# Where key frames are partial, runs add to them what a human did not draw there.

PARTIAL = {"keyframes": KeyFrames.PARTIAL}


def strayed(result: Path, first: int, by: int = 9) -> None:
    """Let a result be one whose pass lost the thing from a frame on."""
    rewrite(
        result,
        lambda shapes: [
            replace(s, mask=replace(s.mask, left=min(64 - s.mask.width, s.mask.left + by)))
            if s.label == "thing" and s.frame >= first
            else s
            for s in shapes
        ],
    )


def rewrite(result: Path, change: Callable[[list[MaskShape]], list[MaskShape]], *gone: str) -> None:
    """Change the masks of a result, frame by frame; `gone`: what its note does not say then."""
    note = read_note(result)
    note = {key: said for key, said in note.items() if key not in ("mask_relay", *gone)}
    shapes = [s for _, each in sorted(masks_by_frame(result).items()) for s in change(each)]
    was = result.with_name("was.zip")
    result.rename(was)
    with open_export(was, LIMITS) as archive:
        write_result(result, archive, shapes, note, keep_ids=True)


def quality(result: Path) -> list[float]:
    """IoU of the thing with its exact mask, frame by frame."""
    masks = masks_by_frame(result)
    exact = {frame: shapes_of(CLIP, frame, frame)[1].mask for frame in range(10)}
    return [
        next((iou(s.mask, exact[frame]) for s in masks[frame] if s.label == "thing"), 0.0)
        for frame in range(10)
    ]


def of_thing(shapes: Sequence[MaskShape]) -> MaskShape:
    (found,) = (shape for shape in shapes if shape.label == "thing")
    return found


def thing_left_out(tmp_path: Path, **options: Any) -> Rounds:
    """On key frame 5 a human drew the object alone; a run added the thing, which had strayed."""
    job = Rounds(tmp_path, [*drawn(0), *without(drawn(5), "thing")], **PARTIAL, **options)
    strayed(job.result, 3)
    assert of_thing(masks_by_frame(job.result)[5]).source == "auto"
    return job


def corrected_on_3(job: Rounds) -> dict[int, list[MaskShape]]:
    """What CVAT gives back once a human drew the thing on frame 3 where it is."""
    now = job.exported()
    exact = of_thing(drawn(3))
    now[3] = [exact if shape.label == "thing" else shape for shape in now[3]]
    return now


def test_what_a_run_added_to_a_key_frame_is_made_anew_when_a_human_corrects_it_elsewhere(
    tmp_path: Path,
) -> None:
    """Promise: our own masks never become a human's by coming back from CVAT."""
    job = thing_left_out(tmp_path)
    # Nothing is computed for this, and what is ours is still known to be ours.
    now = job.exported()
    now[7] = [replace(shape, z_order=3) for shape in now[7]]
    job.correct(now, **PARTIAL)
    assert of_thing(masks_by_frame(job.result)[5]).source == "auto"
    assert quality(job.result)[5] < 0.3
    job.correct(corrected_on_3(job), **PARTIAL)
    assert key_frames(job.result) == [0, 3, 5]
    assert min(quality(job.result)) > 0.9
    after = masks_by_frame(job.result)
    assert of_thing(after[3]).source == "manual"
    assert of_thing(after[5]).source == "auto"
    # What nobody touched on the corrected frame is ours too.
    assert [s.source for s in after[3] if s.label == "object"] == ["auto"]


def test_a_mask_that_a_run_added_is_a_humans_once_they_edit_it_or_name_its_frame(
    tmp_path: Path,
) -> None:
    """Promise: whatever a human drew or said is right stays to the pixel."""
    job = thing_left_out(tmp_path)
    before = job.exported()
    now = corrected_on_3(job)
    now[5] = moved(now[5], "thing")
    first = job.result
    job.correct(now, **PARTIAL)
    assert contents([of_thing(masks_by_frame(job.result)[5])]) == contents([of_thing(now[5])])
    job.result = first
    job.correct(corrected_on_3(job), frames="5", **PARTIAL)
    after = masks_by_frame(job.result)
    assert contents(after[5]) == contents(before[5])


def test_what_a_human_placed_stays_on_masks_that_a_run_added_to_key_frames(
    tmp_path: Path,
) -> None:
    """Promise: edits of occluded and z-order survive there too."""
    job = thing_left_out(tmp_path)
    now = corrected_on_3(job)
    now[5] = [replace(s, occluded=True, z_order=7) if s.label == "thing" else s for s in now[5]]
    job.correct(now, **PARTIAL)
    assert quality(job.result)[5] > 0.9
    assert placed(masks_by_frame(job.result)[5]) == [("object", False, 0), ("thing", True, 7)]


def test_what_no_humans_mask_leads_to_stays_where_a_run_added_it(tmp_path: Path) -> None:
    """Promise: nothing vanishes only since no pass comes there any more."""
    job = Rounds(tmp_path, [*without(drawn(0), "thing"), *drawn(8)], **PARTIAL)
    before = job.exported()
    now = job.exported()
    now[4] = moved(now[4], "object")
    job.correct(now, **PARTIAL, **FORWARD)
    after = masks_by_frame(job.result)
    assert frames_of(job.result, "thing") == [*range(10)]
    assert of_thing(after[0]).source == "auto"
    assert contents([replace(of_thing(after[0]), source="manual")]) == contents(
        [of_thing(before[0])]
    )


@pytest.mark.parametrize("older", [False, True], ids=["", "of an older result"])
def test_key_frames_of_a_model_of_cvats_own_stay_where_key_frames_are_partial(
    tmp_path: Path, older: bool
) -> None:
    """Promise: a human's masks are told from ours by more than what CVAT writes beside them."""
    masks = [replace(shape, source="auto") for shape in drawn(0, 6)]
    job = Rounds(tmp_path, masks, **PARTIAL)
    if older:
        rewrite(job.result, list, "drawn")
    for frame in (3, 8):
        now = job.exported()
        now[frame] = moved(now[frame], "thing")
        job.correct(now, **PARTIAL)
        after = masks_by_frame(job.result)
        for key in (0, 6):
            assert contents(after[key]) == contents(now[key])


def test_a_label_that_was_ignored_is_not_taken_for_masks_of_a_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Promise: what a person drew under a label that no run followed is never replaced."""
    job = Rounds(tmp_path, [*drawn(0), *map(hud, (0, 3, 4))])
    now = job.exported()
    last = max(now)
    now[last] = moved(now[last], "object")
    monkeypatch.setattr(trips, "SETTINGS", Settings())
    with pytest.raises(
        InputError, match=r'label "HUD" was ignored.* on frame 3, .*ignore it again'
    ):
        job.correct(now)
    monkeypatch.undo()
    job.correct(now)
    assert frames_of(job.result, "HUD") == [0, 3, 4]
