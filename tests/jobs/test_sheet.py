"""Promise: two frames count as equal exactly when a human sees and said the same on both."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from config import Limits
from cvat_io.defaults import Defaults
from cvat_io.model import Label, LabelAttribute, Mask
from cvat_io.reader import open_export
from jobs.sheet import changed_frames, read_sheet
from tests.helpers.clips import LABELS, hud, shapes_of, tiny_clip, write_clip

CLIP = tiny_clip(3)
SHAPES = shapes_of(CLIP, 0, 0)


def sheet(path, masks):
    write_clip(path, CLIP, (), masks=masks)
    with open_export(path, Limits()) as export:
        return read_sheet(export, {"HUD"}, Defaults(LABELS))


def changed(tmp_path, masks):
    return changed_frames(sheet(tmp_path / "now.zip", masks), sheet(tmp_path / "b.zip", SHAPES))


def test_order_source_and_ignored_labels_change_nothing(tmp_path):
    masks = [*(replace(shape, source="auto") for shape in reversed(SHAPES)), hud(0), hud(2)]
    assert changed(tmp_path, masks) == ()


def test_a_loose_box_and_trailing_zeros_change_nothing(tmp_path):
    mask = SHAPES[0].mask  # a full square
    wide = mask.width + 1
    runs = [0]
    for _ in range(mask.height):
        runs += [mask.width, 1]
    loose = Mask(mask.left, mask.top, wide, mask.height, np.array(runs, dtype=np.int32))
    assert changed(tmp_path, [replace(SHAPES[0], mask=loose), *SHAPES[1:]]) == ()


def test_pixels_labels_attributes_and_deletions_are_seen(tmp_path):
    first, *rest = SHAPES
    moved = replace(first.mask, left=first.mask.left + 1)
    assert changed(tmp_path, [replace(first, mask=moved), *rest]) == (0,)
    assert changed(tmp_path, [replace(first, label="thing"), *rest]) == (0,)
    assert changed(tmp_path, [replace(first, attributes=(("track_id", "9"),)), *rest]) == (0,)
    assert changed(tmp_path, rest) == (0,)
    assert changed(tmp_path, []) == (0,)
    assert changed(tmp_path, [*SHAPES, *shapes_of(CLIP, 1, 2)]) == (2,)


@pytest.mark.parametrize(
    ("was", "said", "seen"),
    [
        ((), (("side", "left"),), False),  # the label was given the attribute
        ((), (("side", "right"),), True),
        ((("side", "right"),), (("side", "left"),), True),
        ((("side", "left"),), (("side", "left"),), False),
        ((("gone", "5"),), (("side", "left"),), False),  # and another one was taken from it
        ((), (("side", ""),), True),
    ],
)
def test_an_attribute_that_nobody_set_changes_nothing(tmp_path, was, said, seen):
    label = Label("thing", "", "any", (LabelAttribute("side", False, "text", "left", ()),))
    defaults = Defaults([label])
    found = []
    for name, attributes in (("now", said), ("before", was)):
        path = tmp_path / f"{name}.zip"
        masks = [replace(SHAPES[0], label="thing", attributes=attributes)]
        with open_export(write_clip(path, CLIP, (), masks=masks), Limits()) as export:
            found.append(read_sheet(export, (), defaults))
    assert changed_frames(*found) == ((0,) if seen else ())


def test_a_frame_is_human_as_soon_as_one_of_its_masks_is(tmp_path):
    auto = [replace(shape, source="auto") for shape in shapes_of(CLIP, 1, 1)]
    mixed = [replace(SHAPES[0], source="auto"), SHAPES[1]]
    found = sheet(tmp_path / "e.zip", [*auto, *mixed])
    assert found.human_frames == (0,)
    assert found.any_auto
    assert found.labels == {"object", "thing"}
