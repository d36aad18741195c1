"""Promise: of a human's rectangles and polygons exactly those are taken for masks that they drew
on a frame and that no mask stands beside, and a polygon has the very pixels that CVAT gives it."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, ImageDraw
from pycocotools import mask as coco

from config import Limits
from cvat_io.check import inspect, require_trackable
from cvat_io.model import MaskShape
from cvat_io.polygons import rasterise
from cvat_io.prompts import Kind, Prompt, find_prompts, frames_of
from cvat_io.reader import open_export
from errors import InputError
from tests.cvat_io.cvat_samples import FIXTURES, needs_fixtures
from tests.helpers.clips import shapes_of, tiny_clip, write_clip
from tests.helpers.shapes import add_tracks, box, polygon, square, track

ALL = frozenset(Kind)


def found(path: Path, *kinds: Kind, ignore: frozenset[str] = frozenset()) -> list[Prompt]:
    with open_export(path, Limits()) as export:
        return find_prompts(export, kinds or ALL, ignore)


def with_tracks(path: Path, *tracks: str, masks: list[MaskShape] | None = None) -> Path:
    return add_tracks(write_clip(path, tiny_clip(6), (), masks=masks or []), *tracks)


@settings(max_examples=60, deadline=None)
@given(
    st.lists(
        st.tuples(st.floats(-8, 48, width=32), st.floats(-8, 40, width=32)),
        min_size=3,
        max_size=9,
    )
)
def test_a_polygon_has_the_pixels_that_coco_gives_it_wherever_it_lies(points: list) -> None:
    """As CVAT's own converter asks for them: polygon to run lengths, merged, decoded."""
    flat = [[coordinate for point in points for coordinate in point]]
    theirs = coco.decode(coco.merge(coco.frPyObjects(flat, 30, 40)))
    ours = rasterise(np.array(points, dtype=np.float64), 30, 40)
    assert ours.dtype == np.bool_
    assert ours.shape == (30, 40)
    assert np.array_equal(ours, theirs.astype(bool))


def test_pixels_of_polygons_along_the_grid_are_known_by_heart() -> None:
    """(0, 0) is the corner of the first pixel: a rectangle of whole numbers is just its pixels."""
    pixels = rasterise(np.array(square(3, 2, 5), dtype=np.float64), 10, 12)
    exact = np.zeros((10, 12), dtype=bool)
    exact[2:7, 3:8] = True
    assert np.array_equal(pixels, exact)
    whole = np.array([(0, 0), (12, 0), (12, 10), (0, 10)], dtype=np.float64)
    assert rasterise(whole, 10, 12).all()


def test_a_large_polygon_covers_what_a_drawing_program_fills_but_for_its_border() -> None:
    """Pillow is another program by another rule: they may differ along the outline only."""
    points = [(20.0, 10.0), (180.0, 30.0), (150.0, 140.0), (90.0, 60.0), (30.0, 120.0)]
    canvas = Image.new("1", (200, 150))
    ImageDraw.Draw(canvas).polygon(points, fill=1)
    differ = rasterise(np.array(points), 150, 200) != np.asarray(canvas)
    border = Image.new("1", (200, 150))
    ImageDraw.Draw(border).line([*points, points[0]], fill=1, width=5)
    assert not (differ & ~np.asarray(border)).any()


def test_only_key_shapes_that_are_not_outside_are_taken(tmp_path: Path) -> None:
    path = with_tracks(
        tmp_path / "e.zip",
        track(
            0,
            "object",
            polygon(square(1, 1, 8), 0),
            polygon(square(2, 1, 8), 1, keyframe=0),
            polygon(square(3, 1, 8), 2),
            polygon(square(3, 1, 8), 3, outside=1),
        ),
        track(1, "thing", box((20, 10, 30, 30), 4), box((20, 10, 30, 30), 5, outside=1)),
        track(2, "HUD", box((20, 10, 30, 30), 3)),
    )
    taken = [(p.kind, p.like.frame, p.box) for p in found(path, ignore=frozenset({"HUD"}))]
    assert taken == [
        (Kind.POLYGON, 0, (1, 1, 9, 9)),
        (Kind.POLYGON, 2, (3, 1, 11, 9)),
        (Kind.BOX, 4, (20, 10, 30, 30)),
    ]
    assert frames_of(found(path, Kind.BOX)) == {3, 4}
    with open_export(path, Limits()) as export:
        assert find_prompts(export, (), ()) == []


def test_all_that_stands_beside_a_shape_stands_beside_its_mask(tmp_path: Path) -> None:
    value = '      <attribute name="track_id">a &amp; b</attribute>\n'
    shape = polygon(square(1, 1, 8), 2, occluded=1, z_order=7, inner=value)
    (prompt,) = found(
        with_tracks(tmp_path / "e.zip", track(31, "object", shape, more='group_id="4"'))
    )
    like = prompt.like
    assert (like.frame, like.label, like.occluded, like.z_order) == (2, "object", True, 7)
    assert (like.group_id, like.attributes, like.track) == (4, (("track_id", "a & b"),), "31")
    assert like.source == "semi-auto"


def test_a_rotated_rectangle_has_its_corners_turned_round_its_middle(tmp_path: Path) -> None:
    (prompt,) = found(
        with_tracks(tmp_path / "e.zip", track(0, "thing", box((10, 10, 30, 20), 0, rotation=90)))
    )
    assert prompt.box == pytest.approx((15, 5, 25, 25))
    assert prompt.points[0] == pytest.approx((25, 5))  # the upper left corner went right


def test_a_shape_beside_its_mask_does_not_count_twice(tmp_path: Path) -> None:
    """As in an export that was made after our result was imported."""
    clip = tiny_clip(6)
    mask = next(s for s in shapes_of(clip, 0, 0) if s.label == "object")
    place = square(mask.mask.left, mask.mask.top, 12)
    shapes = (
        track(8, "object", polygon(place, 0)),
        track(9, "thing", polygon(place, 0)),
        track(10, "object", polygon(place, 1)),
        track(11, "object", polygon(square(40, 30, 12), 0)),
    )
    path = with_tracks(tmp_path / "e.zip", *shapes, masks=[mask])
    assert [p.like.track for p in found(path)] == ["9", "10", "11"]


@pytest.mark.parametrize(
    ("shape", "words"),
    [
        (polygon(((1, 1), (2, 2)), 3), "has no points that make a polygon"),
        (polygon(square(1e6, 1, 4), 3), 'has "1000000.00" where a coordinate belongs'),
        (polygon(square(1, 1, 4), 3).replace("1.00,1.00", "nan,1.00"), '"nan"'),
        (polygon(square(1, 1, 4), 3).replace("1.00,1.00", "1.00"), "has no points"),
        (polygon([(-9e4, 0), (9e4, 9)] * 40, 3), "outline of more than"),
        (polygon(square(70, 1, 4), 3), "covers no pixel"),
        (polygon(((1, 1), (9, 1), (5, 1)), 3), "covers no pixel"),
        (box((5, 5, 5, 9), 3), "covers no pixel"),
        (box((5, 5, 7, 9), 3).replace('xbr="7.00" ', ""), "where a coordinate belongs"),
    ],
)
def test_a_shape_that_cannot_be_a_mask_is_named_with_frame_track_and_what_to_do(
    tmp_path: Path, shape: str, words: str
) -> None:
    path = with_tracks(tmp_path / "e.zip", track(5, "object", shape))
    with pytest.raises(InputError) as caught:
        found(path)
    sentence = str(caught.value)
    assert words in sentence
    assert '"object" on frame 3 (track 5)' in sentence
    assert "draw it again in CVAT, or delete it" in sentence


def test_what_is_not_asked_for_is_not_even_read(tmp_path: Path) -> None:
    path = with_tracks(
        tmp_path / "e.zip",
        track(5, "object", polygon(((1, 1), (2, 2)), 3)),
        track(6, "object", box((1, 1, 9, 9), 2)),
    )
    assert frames_of(found(path, Kind.BOX)) == {2}


@needs_fixtures
def test_shapes_of_real_exports_are_read() -> None:
    with open_export(FIXTURES / "task2025_boxes_86tracks.xml", Limits()) as export:
        boxes = find_prompts(export, {Kind.BOX}, ())
        keys = export.source().read().count(b'keyframe="1" outside="0"')
    assert len(boxes) == keys > 86
    shapes = found(FIXTURES / "synthetic_allshapes_task_step3.xml")
    assert [(p.kind, p.like.frame) for p in shapes] == [
        (Kind.POLYGON, 10),
        (Kind.POLYGON, 16),
        (Kind.BOX, 13),
    ]


@needs_fixtures
def test_an_export_of_shapes_alone_is_refused_with_the_option_that_helps() -> None:
    inspection = inspect(FIXTURES / "task2025_boxes_86tracks.xml", Limits())
    with pytest.raises(
        InputError, match=r"no masks .*its rectangles become masks \(option prompts\)"
    ):
        require_trackable(inspection, images_elsewhere=True)
    require_trackable(inspection, images_elsewhere=True, prompted=True)
    bare = replace(inspection, others_by_kind={"ellipse": 1})
    with pytest.raises(InputError, match=r"save and export again\.$"):
        require_trackable(bare, images_elsewhere=True)
