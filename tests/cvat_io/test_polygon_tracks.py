"""Promise: a result as polygons is what CVAT takes: one track with identity for each object, that
pauses and ends with it, and nothing is lost without being said."""

from __future__ import annotations

import tempfile
import zipfile
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from lxml import etree
from numpy.typing import NDArray
from scipy import ndimage

import cli
from config import Limits, Settings
from cvat_io.build import write_export
from cvat_io.forecast import Fate
from cvat_io.lineage import Lineage
from cvat_io.masks import encode, paint
from cvat_io.model import Label, LabelAttribute, MaskShape
from cvat_io.polygon_tracks import PolygonsWritten, describe_polygons, write_polygons
from cvat_io.polygons import rasterise
from cvat_io.preflight import foresee
from cvat_io.prompts import Kind, find_prompts
from cvat_io.reader import open_export
from cvat_io.result import write_result
from errors import InputError
from jobs.options import RunOptions
from tests.cvat_io.result_samples import BOX
from tests.helpers.clips import CLIPS, clip_export, hud, tiny_clip, write_clip
from worker.local import track

WIDTH, HEIGHT, STEP = 40, 30, 2
LABELS = (
    Label("car", "#ff0000", "any", (LabelAttribute("note", True, "text", "", ()),)),
    Label("sky", "#0000ff", "mask"),
)
Shapes = list[tuple[MaskShape, int]]


def square(left: int, top: int, side: int = 6, *, hole: bool = False) -> NDArray[np.bool_]:
    pixels = np.zeros((HEIGHT, WIDTH), bool)
    pixels[top : top + side, left : left + side] = True
    pixels[top + 2, left + 2] &= not hole
    return pixels


def shape(frame: int, pixels: NDArray[np.bool_], label: str = "car", **values) -> MaskShape:
    mask = encode(pixels)
    assert mask is not None
    return MaskShape(frame=frame, label=label, mask=mask, **values)


def result(folder: Path, shapes: Shapes, others: str = "") -> Path:
    """A result of ours of ten frames, 0 to 18, with these masks and their objects."""
    write_export(
        folder / "e.zip",
        frames=[],
        width=WIDTH,
        height=HEIGHT,
        labels=LABELS,
        masks=[],
        stop_frame=18,
        step=STEP,
        with_images=False,
    )
    if others:
        with zipfile.ZipFile(folder / "e.zip") as archive:
            text = archive.read("annotations.xml").decode()
        with zipfile.ZipFile(folder / "e.zip", "w") as archive:
            archive.writestr("annotations.xml", text.replace("</meta>", f"</meta>{others}"))
    with open_export(folder / "e.zip", Limits()) as export:
        largest = max((number for _, number in shapes), default=0)
        lineage = Lineage.behind(export.others(), largest, export.meta.frames)
        masks = lineage.numbered(sorted(shapes, key=lambda each: each[0].frame))
        write_result(folder / "r.zip", export, masks, lineage.note(), keep_ids=True)
    return folder / "r.zip"


def polygons(folder: Path, shapes: Shapes, tolerance: float = 0.0, others: str = ""):
    """What is written, and the tracks of the archive."""
    path = result(folder, shapes, others)
    with open_export(path, Limits()) as opened:
        written = write_polygons(folder / "p.zip", opened, tolerance)
    return written, tracks(folder / "p.zip")


def tracks(path: Path) -> list[etree._Element]:
    with zipfile.ZipFile(path) as archive:
        assert archive.namelist() == ["annotations.xml"]
        return etree.fromstring(archive.read("annotations.xml")).findall("track")


def frames(each: etree._Element) -> list[tuple[int, str]]:
    assert all(polygon.get("keyframe") == "1" for polygon in each)
    return [(int(polygon.get("frame")), polygon.get("outside")) for polygon in each]


def pixels_of(polygon: etree._Element) -> NDArray[np.bool_]:
    points = [[float(n) for n in pair.split(",")] for pair in polygon.get("points").split(";")]
    return rasterise(np.array(points), HEIGHT, WIDTH)


def test_each_object_is_one_track_that_pauses_and_ends_with_it(tmp_path: Path) -> None:
    one = {f: square(2 + f, 3) for f in (0, 2, 4, 10, 12)}
    two = {f: square(20, 2 + f // 2) for f in range(6, 20, STEP)}
    written, found = polygons(
        tmp_path,
        [
            *((shape(f, px, source="manual" if f == 0 else "auto"), 1) for f, px in one.items()),
            *((shape(f, px, "sky", source="auto", z_order=f), 2) for f, px in two.items()),
        ],
    )
    assert [frames(each) for each in found] == [
        [(0, "0"), (2, "0"), (4, "0"), (6, "1"), (10, "0"), (12, "0"), (14, "1")],
        [(f, "0") for f in two],  # up to the last frame: nothing is behind it to be closed on
    ]
    heads = [(e.get("id"), e.get("label"), e.get("source"), e.get("group_id")) for e in found]
    assert heads == [("0", "car", "semi-auto", None), ("1", "sky", "auto", None)]
    for each, drawn in zip(found, (one, two), strict=True):
        for polygon in each:
            if polygon.get("outside") == "0":
                assert np.array_equal(pixels_of(polygon), drawn[int(polygon.get("frame"))])
    assert [polygon.get("z_order") for polygon in found[1]] == [str(f) for f in two]
    assert written == PolygonsWritten(
        objects=2, loose=0, tracks=2, polygons=12, pieces=0, holes=0, mask_only=("sky",), raised=0
    )


def test_all_that_stands_beside_a_mask_stays(tmp_path: Path) -> None:
    value = 'a "b" & <c>'
    drawn = shape(4, square(3, 3), occluded=True, z_order=-2, attributes=(("note", value),))
    _, (found,) = polygons(tmp_path, [(replace(drawn, group_id=7), 1)])
    polygon = found[0]
    assert (polygon.get("occluded"), polygon.get("z_order")) == ("1", "-2")
    assert [(each.get("name"), each.text) for each in polygon] == [("note", value)]
    assert found.get("group_id") == "7"


def test_further_pieces_are_tracks_of_the_objects_group_and_holes_are_counted(
    tmp_path: Path,
) -> None:
    torn = square(2, 2, 8, hole=True) | square(20, 5, 4) | square(30, 20, 2)
    written, found = polygons(
        tmp_path,
        [
            (shape(0, torn), 1),
            (shape(2, square(2, 2, 8)), 1),
            (shape(0, square(12, 20)), 2),
            (shape(0, square(20, 20), group_id=4), 3),
        ],
    )
    assert [each.get("group_id") for each in found] == ["5", "5", "5", None, "4"]
    assert [frames(each)[0] for each in found] == [(0, "0")] * 5
    shown = [pixels_of(each[0]) for each in found[:3]]
    assert [int(each.sum()) for each in shown] == [64, 16, 4]  # the largest first, its hole filled
    assert np.array_equal(np.any(shown, axis=0), torn | square(2, 2, 8))
    assert (written.pieces, written.holes, written.tracks, written.objects) == (2, 1, 5, 3)
    said = " ".join(describe_polygons(written))
    assert "3 objects: 6 polygons in 5 tracks." in said
    assert "2 further polygons" in said
    assert "Lost, since a polygon has none: 1 hole of masks." in said


def block(left: int, top: int, right: int, bottom: int) -> NDArray[np.bool_]:
    pixels = np.zeros((HEIGHT, WIDTH), bool)
    pixels[top:bottom, left:right] = True
    return pixels


def seen(found: list[etree._Element]) -> NDArray[np.int64]:
    """Which track is on top where, on frame 0; of equal z-order the last one of the file."""
    canvas = np.full((HEIGHT, WIDTH), -1)
    for number in sorted(range(len(found)), key=lambda k: int(found[k][0].get("z_order"))):
        canvas[pixels_of(found[number][0])] = number
    return canvas


def orders(found: list[etree._Element]) -> list[int]:
    return [int(each[0].get("z_order")) for each in found]


def test_what_lies_in_a_hole_is_seen_however_deep_and_wherever_in_the_file(
    tmp_path: Path,
) -> None:
    disc, middle, outer = block(16, 12, 20, 16), block(10, 8, 26, 20), block(2, 2, 36, 28)
    shown = [disc, middle & ~disc, outer & ~middle]
    written, found = polygons(tmp_path, [(shape(0, px), n) for n, px in enumerate(shown, 1)])
    assert orders(found) == [2, 1, 0]
    canvas = seen(found)
    for number, pixels in enumerate(shown):
        assert np.array_equal(canvas == number, pixels)
    assert written.raised == 2
    assert "2 polygons got a higher z_order than the mask had" in " ".join(
        describe_polygons(written)
    )


def test_z_orders_that_a_person_set_keep_their_order_and_stay_where_they_do_no_harm(
    tmp_path: Path,
) -> None:
    inner, beside, over = block(12, 12, 16, 16), block(36, 2, 40, 6), block(14, 14, 30, 18)
    ring = block(8, 8, 24, 22) & ~block(11, 11, 18, 18)

    def set_by_hand(*z: int) -> list[int]:
        drawn = zip((inner, ring, beside, over), z, strict=True)
        _, found = polygons(
            tmp_path, [(shape(0, px, z_order=k), n) for n, (px, k) in enumerate(drawn, 1)]
        )
        return orders(found)

    assert set_by_hand(3, -1, 0, 5) == [3, -1, 0, 5]
    assert set_by_hand(0, 0, 0, 5) == [1, 0, 0, 5]
    assert set_by_hand(0, 0, 0, 1) == [1, 0, 0, 2]  # what lay over all of it still does
    assert set_by_hand(0, 3, 0, 4) == [4, 3, 0, 5]  # else it would not be seen
    top = 2**31 - 1
    assert set_by_hand(top, top, 0, top) == [top, top, 0, top]  # CVAT takes no higher one


def test_a_piece_in_a_hole_of_its_own_mask_keeps_its_z_order(tmp_path: Path) -> None:
    target = block(4, 4, 20, 20) & ~block(8, 8, 16, 16) | block(10, 10, 14, 14)
    written, found = polygons(tmp_path, [(shape(0, target), 1)])
    assert (orders(found), written.raised, written.holes) == ([0, 0], 0, 1)


def test_masks_of_no_object_are_tracks_of_their_own(tmp_path: Path) -> None:
    written, found = polygons(
        tmp_path,
        [(shape(0, square(2, 2)), 0), (shape(2, square(2, 2)), 0), (shape(2, square(20, 2)), 1)],
    )
    assert (written.objects, written.loose, written.tracks) == (1, 2, 3)
    assert [frames(each) for each in found] == [
        [(2, "0"), (4, "1")],
        [(0, "0"), (2, "1")],
        [(2, "0"), (4, "1")],
    ]
    assert "1 object and 2 masks of no known object: 3 polygons in 3 tracks." in list(
        describe_polygons(written)
    )


def test_other_tracks_stay_as_they_are_and_ids_and_groups_stay_apart(tmp_path: Path) -> None:
    others = BOX.replace(' frame="1"', ' frame="2"').replace("<track ", '<track group_id="9" ')
    two = square(2, 2) | square(20, 2)
    _, found = polygons(tmp_path, [(shape(2, two), 1)], others=others)
    assert [(each.get("id"), each.get("group_id")) for each in found] == [
        ("41", "9"), ("42", "10"), ("43", "10"),
    ]  # fmt: skip
    with open_export(tmp_path / "p.zip", Limits()) as ours:
        (box, *_) = ours.others()
    with open_export(tmp_path / "r.zip", Limits()) as before:
        assert [box.xml] == [each.xml for each in before.others()]


def test_cvat_takes_all_of_it_and_our_reader_makes_the_masks_again(tmp_path: Path) -> None:
    drawn: Shapes = [(shape(f, square(2 + f, 2, 7)), 1) for f in range(0, 19, STEP)]
    polygons(tmp_path, drawn, others=BOX.replace(' frame="1"', ' frame="2"'))
    _, forecast = foresee(tmp_path / "p.zip", tmp_path / "e.zip", Limits())
    assert forecast.fate is Fate.NOTED
    assert forecast.tracks == {"box": 1, "polygon": 1}
    with open_export(tmp_path / "p.zip", Limits()) as back:
        prompts = find_prompts(back, {Kind.POLYGON}, frozenset())
    assert [prompt.like.frame for prompt in prompts] == list(range(0, 19, STEP))
    for prompt, (before, _) in zip(prompts, drawn, strict=True):
        canvas = np.zeros((HEIGHT, WIDTH), bool)
        paint(before.mask, canvas, True)
        assert np.array_equal(rasterise(prompt.points, HEIGHT, WIDTH), canvas)


def test_the_systems_temp_folder_is_not_needed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Polygons wait beside what is written (on a server in its data folder): it may be memory."""
    archive = result(tmp_path, [(shape(0, square(4, 4)), 1)])
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "none"))
    (tmp_path / "out").mkdir()
    with open_export(archive, Limits()) as opened:
        write_polygons(tmp_path / "out/p.zip", opened, 0)
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["p.zip"]


def test_the_same_result_gives_the_same_bytes(tmp_path: Path) -> None:
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        torn = square(2, 2, 8, hole=True) | square(20, 5, 4) | square(20, 20, 4)
        polygons(tmp_path / name, [(shape(f, torn), 1) for f in (0, 2, 6)], 1.0)
    assert (tmp_path / "a/p.zip").read_bytes() == (tmp_path / "b/p.zip").read_bytes()


@pytest.mark.skipif(not CLIPS.is_dir(), reason="../shared/clips is not there")
@pytest.mark.parametrize(("tolerance", "least"), [(0.0, 1.0), (0.5, 0.98), (1.5, 0.95), (4, 0.85)])
def test_polygons_of_human_masks_are_nearly_their_masks(
    tmp_path: Path, tolerance: float, least: float
) -> None:
    """Measured against the masks with their holes filled, which no polygon can have."""
    export = clip_export("blackswan", tmp_path, every=5, length=21)
    with open_export(export, Limits()) as opened:
        write_polygons(tmp_path / "p.zip", opened, tolerance)
        masks = {s.frame: s for s in opened.tracks() if isinstance(s, MaskShape)}
        height, width = opened.meta.height, opened.meta.width
    assert height is not None
    assert width is not None
    with open_export(tmp_path / "p.zip", Limits()) as back:
        shown = {frame: np.zeros((height, width), bool) for frame in masks}
        for prompt in find_prompts(back, {Kind.POLYGON}, frozenset()):
            shown[prompt.like.frame] |= rasterise(prompt.points, height, width)
    for frame, drawn in masks.items():
        expected = np.zeros((height, width), bool)
        paint(drawn.mask, expected, True)
        filled = expected | (shown[frame] & np.asarray(ndimage.binary_fill_holes(expected)))
        iou = (shown[frame] & filled).sum() / (shown[frame] | filled).sum()
        assert iou >= least


def test_a_result_of_a_run_goes_through_the_command(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    export = write_clip(tmp_path / "e.zip", tiny_clip(6), [0, 5], extra=[hud(3)])
    track(
        export,
        tmp_path / "r.zip",
        options=RunOptions(engine="flow"),
        settings=Settings(ignore_labels=frozenset({"HUD"})),
    )
    out = tmp_path / "p.zip"
    given = ["export", str(tmp_path / "r.zip"), "--format", "polygons", "--out", str(out)]
    assert cli.main(given) == 0
    assert capsys.readouterr().out == f"{out}\n"
    assert [each.get("label") for each in tracks(out)] == ["object", "thing", "HUD"]
    assert [len(each) for each in tracks(out)] == [6, 6, 2]
    assert cli.main(["check", "--result", str(out), "--export", str(export)]) == 0


@pytest.mark.parametrize(
    ("given", "sentence"),
    [
        (["--format", "polygons", "--tolerance", "-1"], "give a number from 0 to 100"),
        (["--format", "polygons", "--tolerance", "nan"], "give a number from 0 to 100"),
        (["--format", "polygons", "--shard-mb", "5"], "--shard-mb is of --format cvat"),
        (["--format", "cvat"], "give --shard-mb N to cut it into parts"),
        (["--format", "cvat", "--shard-mb", "0"], "give a whole number from 1"),
        (["--format", "cvat", "--shard-mb", "5", "--tolerance", "1"], "--tolerance is of --format"),
        (["--format", "coco"], "give --images EXPORT.zip"),
        (["--format", "overlay"], "give --images EXPORT.zip"),
    ],
)
def test_options_that_a_format_has_no_use_for_are_refused(
    tmp_path: Path, given: list[str], sentence: str, capsys: pytest.CaptureFixture[str]
) -> None:
    path = result(tmp_path, [(shape(0, square(2, 2)), 1)])
    assert cli.main(["export", str(path), "--out", str(tmp_path / "out"), *given]) == 2
    assert sentence in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_a_result_without_masks_is_refused_and_leaves_nothing(tmp_path: Path) -> None:
    path = result(tmp_path, [])
    with open_export(path, Limits()) as opened, pytest.raises(InputError, match="holds no masks"):
        write_polygons(tmp_path / "p.zip", opened, 1.0)
    assert sorted(each.name for each in tmp_path.iterdir()) == ["e.zip", "r.zip"]
