"""Promise: a rectangle of a key frame becomes the mask of what a segmenter finds in it."""

from __future__ import annotations

from pathlib import Path

from cvat_io.masks import encode_labels, iou, same_pixels
from jobs.options import Prompts
from jobs.plan import plan_run
from tests.helpers.clips import masks_by_frame, tiny_clip, write_clip
from tests.helpers.segmenter import BrightSegmenter
from tests.helpers.shapes import add_tracks, box, track
from tests.worker.prompting import SIDE, boxed, corner, inputs_of, others, run
from worker.prompts import complete


def test_a_rectangle_becomes_what_its_segmenter_finds_in_it(tmp_path: Path) -> None:
    clip = tiny_clip(7)
    x, y = corner(clip, 1, 3)
    loose = track(91, "object", box((x - 3, y - 0.5, x + SIDE + 2, y + SIDE + 3), 3))
    export = add_tracks(write_clip(tmp_path / "e.zip", clip, ()), loose, boxed(clip, 0))
    inputs = inputs_of(export, prompts=Prompts.BOXES)
    looks = BrightSegmenter()
    made = complete(inputs, plan_run(inputs), tmp_path, make_segmenter=lambda: looks)
    assert made is not None
    found = masks_by_frame(made.annotations)
    for frame, number in ((0, 2), (3, 1)):
        (mine,) = found[frame]
        assert mine.label == clip.kinds[number]
        assert mine.source == "semi-auto"
        assert same_pixels(mine.mask, encode_labels(clip.maps[frame])[number])
    assert looks.images == 2
    # CVAT counts from the corner of the first pixel, a segmenter from its middle, by time.
    left, top = corner(clip, 2, 0)
    tight = [left - 0.5, top - 0.5, left + SIDE - 0.5, top + SIDE - 0.5]
    assert looks.boxes[0] == tight
    assert looks.boxes[1][:2] == [max(x - 3, 0) - 0.5, max(y - 0.5, 0) - 0.5]


def test_what_lies_far_outside_of_a_rectangle_is_not_its_object(tmp_path: Path) -> None:
    clip = tiny_clip(4)
    export = add_tracks(write_clip(tmp_path / "e.zip", clip, ()), boxed(clip, 0, number=1))
    inputs = inputs_of(export, prompts=Prompts.BOXES)
    greedy = BrightSegmenter(margin=1000)
    made = complete(inputs, plan_run(inputs), tmp_path, make_segmenter=lambda: greedy)
    assert made is not None
    (mine,) = masks_by_frame(made.annotations)[0]
    assert same_pixels(mine.mask, encode_labels(clip.maps[0])[1])


def test_where_nothing_is_found_the_rectangle_is_the_mask(tmp_path: Path) -> None:
    clip = tiny_clip(4)
    empty = track(91, "object", box((40, 40, 50, 46), 0))  # bare ground
    export = add_tracks(write_clip(tmp_path / "e.zip", clip, ()), empty)
    inputs = inputs_of(export, prompts=Prompts.BOTH)
    made = complete(inputs, plan_run(inputs), tmp_path, make_segmenter=BrightSegmenter)
    assert made is not None
    (mine,) = masks_by_frame(made.annotations)[0]
    mask = mine.mask
    assert (mask.left, mask.top, mask.width, mask.height) == (40, 40, 10, 6)


def test_a_rectangle_that_hangs_over_the_edge_is_cut_at_it(tmp_path: Path) -> None:
    clip = tiny_clip(4)
    hanging = track(91, "object", box((-10, -10, 70, 60), 0, rotation=30))
    export = add_tracks(write_clip(tmp_path / "e.zip", clip, ()), hanging)
    inputs = inputs_of(export, prompts=Prompts.BOXES)
    looks = BrightSegmenter()
    made = complete(inputs, plan_run(inputs), tmp_path, make_segmenter=lambda: looks)
    assert made is not None
    assert looks.boxes == [[-0.5, -0.5, 63.5, 47.5]]


def test_rectangles_go_through_the_built_in_segmenter_twice_with_the_same_bytes(
    tmp_path: Path,
) -> None:
    clip = tiny_clip(5)
    export = add_tracks(write_clip(tmp_path / "e.zip", clip, ()), boxed(clip, 0), boxed(clip, 4))
    for name in ("one.zip", "two.zip"):
        run(export, tmp_path / name, prompts=Prompts.BOXES)
    assert (tmp_path / "one.zip").read_bytes() == (tmp_path / "two.zip").read_bytes()
    found = masks_by_frame(tmp_path / "one.zip")
    assert sorted(found) == list(range(5))
    for index in (0, 4):
        (mine,) = found[index]
        assert mine.source == "semi-auto"
        assert iou(mine.mask, encode_labels(clip.maps[index])[2]) > 0.5
    assert others(tmp_path / "one.zip") == others(export)
