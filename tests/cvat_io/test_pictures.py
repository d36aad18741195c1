"""COCO, mask images and overlay show exactly the pixels of the result."""

from __future__ import annotations

import io
import json
import zipfile
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from numpy.typing import NDArray
from PIL import Image
from pycocotools import mask as coco_mask
from pycocotools.coco import COCO

from config import Limits
from cvat_io import masks
from cvat_io.coco import MEMBER, counts_of, write_coco
from cvat_io.frames import label_colours
from cvat_io.model import Label, MaskShape
from cvat_io.overlay import write_overlay
from cvat_io.pngs import write_masks
from cvat_io.reader import open_export
from errors import InputError
from tests.cvat_io.cvat_samples import FIXTURES, document, job, mask, needs_fixtures, track


def on_canvas(shape: MaskShape, width: int, height: int) -> NDArray[np.bool_]:
    canvas = np.zeros((height, width), dtype=np.bool_)
    masks.paint(shape.mask, canvas, True)
    return canvas


def pixels_of(annotation: dict[str, Any]) -> NDArray[np.bool_]:
    segmentation = annotation["segmentation"]
    decoded = coco_mask.decode(coco_mask.frPyObjects(segmentation, *segmentation["size"]))
    return np.asarray(decoded, dtype=np.bool_)


@given(hnp.arrays(np.bool_, (5, 6)), st.integers(0, 3), st.integers(0, 3))
def test_coco_run_lengths_are_those_of_the_whole_image_by_columns(
    pixels: NDArray[np.bool_], left: int, top: int
) -> None:
    found = masks.encode(pixels, left, top)
    if found is None:
        return
    height, width = 5 + top, 6 + left
    canvas = np.zeros((height, width), dtype=np.uint8, order="F")
    masks.paint(found, canvas, 1)
    counts = counts_of(found, width, height)
    assert all(run > 0 for run in counts[1:])
    again = coco_mask.frPyObjects({"counts": counts, "size": [height, width]}, height, width)
    assert np.array_equal(coco_mask.decode(again), canvas)


@needs_fixtures
@pytest.mark.parametrize(
    "name", ["airacing_264_job_masks.zip", "synthetic_allshapes_task_step3.xml"]
)
def test_pycocotools_reads_the_very_same_pixels(tmp_path: Path, name: str) -> None:
    with open_export(FIXTURES / name, Limits()) as export:
        write_coco(tmp_path / "coco.zip", export, export)
        write_coco(tmp_path / "coco.json", export, export)
        shapes = [each for each in export.tracks() if isinstance(each, MaskShape)]
        meta = export.meta
    with zipfile.ZipFile(tmp_path / "coco.zip") as archive:
        assert json.loads(archive.read(MEMBER)) == json.loads((tmp_path / "coco.json").read_bytes())
    coco = COCO(str(tmp_path / "coco.json"))
    top = [label.name for label in meta.labels if label.parent is None]
    assert [(each["id"], each["name"]) for each in coco.dataset["categories"]] == list(
        enumerate(top, start=1)
    )
    assert [each["file_name"] for each in coco.dataset["images"]] == [
        f"frame_{frame:06d}.PNG" for frame in meta.frames
    ]
    assert [each["id"] for each in coco.dataset["images"]] == list(range(1, len(meta.frames) + 1))
    assert len(coco.dataset["annotations"]) == len(shapes)
    for shape, annotation in zip(shapes, coco.dataset["annotations"], strict=True):
        assert meta.width is not None
        assert meta.height is not None
        expected = on_canvas(shape, meta.width, meta.height)
        assert np.array_equal(coco.annToMask(annotation).astype(bool), expected)
        assert np.array_equal(pixels_of(annotation), expected)
        assert annotation["iscrowd"] == 1
        assert annotation["area"] == expected.sum()
        ys, xs = np.nonzero(expected)
        assert annotation["bbox"] == [
            xs.min(),
            ys.min(),
            xs.max() - xs.min() + 1,
            ys.max() - ys.min() + 1,
        ]
        assert top[annotation["category_id"] - 1] == shape.label
        assert annotation["attributes"]["occluded"] is shape.occluded
        assert meta.frames[annotation["image_id"] - 1] == shape.frame


@needs_fixtures
def test_coco_keeps_attribute_values_with_their_types(tmp_path: Path) -> None:
    with open_export(FIXTURES / "synthetic_allshapes_task_step3.xml", Limits()) as export:
        write_coco(tmp_path / "coco.json", export, export)
    first = json.loads((tmp_path / "coco.json").read_bytes())["annotations"][0]
    assert first["attributes"] == {
        "q": "b",
        "truncated": True,
        "id": 7,
        "note <x>": 'a "b" & ü',
        "occluded": False,
    }


def small(folder: Path) -> Path:
    path = folder / "export.xml"
    over = mask(1, rle="0, 4", left=4, top=4, width=2, height=2, z_order=-1)
    path.write_bytes(document(job(), track(mask(1)), track(over, 1), track(mask(3), 2)))
    return path


def test_mask_images_are_palette_images_with_one_index_per_object(tmp_path: Path) -> None:
    with open_export(small(tmp_path), Limits()) as export:
        write_masks(tmp_path / "masks", export, export)
        write_masks(tmp_path / "masks.zip", export, export)
        shapes = {shape.track: shape for shape in export.tracks() if isinstance(shape, MaskShape)}
    expected = np.zeros((10, 20), dtype=np.uint8)
    masks.paint(shapes["1"].mask, expected, 1)  # the lower z_order lies below
    masks.paint(shapes["0"].mask, expected, 2)
    with Image.open(tmp_path / "masks" / "frame_000001.png") as image:
        assert image.mode == "P"
        assert np.array_equal(np.asarray(image), expected)
        assert image.getpalette()[:6] == [0, 0, 0, 0xB8, 0x3D, 0xF5]
    with zipfile.ZipFile(tmp_path / "masks.zip") as archive:
        assert len(archive.namelist()) == 11
        for name in archive.namelist():
            assert archive.read(name) == (tmp_path / "masks" / name).read_bytes()
        with Image.open(io.BytesIO(archive.read("frame_000000.png"))) as image:
            assert not np.asarray(image).any()


@pytest.mark.parametrize("out", ["masks.zip", "masks"])
def test_more_objects_than_a_palette_holds_are_refused(tmp_path: Path, out: str) -> None:
    path = tmp_path / "export.xml"
    dots = [
        mask(1, rle=f"{n}, 1, {199 - n}", left=0, top=0, width=20, height=10) for n in range(199)
    ]
    pairs = [
        mask(1, rle=f"{n}, 2, {198 - n}", left=0, top=0, width=20, height=10) for n in range(99)
    ]
    path.write_bytes(document(job(), *(track(m, n) for n, m in enumerate(dots + pairs))))
    with (
        open_export(path, Limits()) as export,
        pytest.raises(InputError, match="Frame 1 has 298 masks"),
    ):
        write_masks(tmp_path / out, export, export)
    assert [each.name for each in tmp_path.iterdir()] == ["export.xml"]


@pytest.mark.parametrize("width", [320, 305])
def test_the_overlay_shows_every_frame_with_its_masks(tmp_path: Path, width: int) -> None:
    grey = np.full((160, width, 3), 90, dtype=np.uint8)
    path = tmp_path / "export.xml"
    size = "<original_size><width>320</width><height>160</height></original_size>"
    drawn = mask(1, rle="0, 10000", left=20, top=20, width=100, height=100)
    path.write_bytes(document(job(size=size), track(drawn)))
    out = tmp_path / "overlay.mp4"
    with open_export(path, Limits()) as export:
        write_overlay(out, export, ((frame, grey) for frame in (0, 1, 2, 5)), fps=10)
    with av.open(str(out)) as container:
        shown = [frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)]
    assert len(shown) == 4
    assert shown[0].shape == (160, width + width % 2, 3)
    inside = shown[1][60:80, 60:80].mean(axis=(0, 1))
    assert np.abs(inside - (0.55 * 90 + 0.45 * np.array([0xB8, 0x3D, 0xF5]))).max() < 12
    assert np.abs(shown[2][60:80, 60:80].mean(axis=(0, 1)) - 90).max() < 12
    assert sorted(each.name for each in tmp_path.iterdir()) == ["export.xml", "overlay.mp4"]


@pytest.mark.parametrize(("width", "height"), [(1, 1), (1, 7), (9, 1), (3, 5)])
def test_the_overlay_of_the_smallest_clips_is_padded_to_even_sizes(
    tmp_path: Path, width: int, height: int
) -> None:
    path = tmp_path / "export.xml"
    size = f"<original_size><width>{width}</width><height>{height}</height></original_size>"
    dot = mask(1, rle="0, 1", left=0, top=0, width=1, height=1)
    path.write_bytes(document(job(size=size), track(dot)))
    white = np.full((height, width, 3), 255, dtype=np.uint8)
    with open_export(path, Limits()) as export:
        write_overlay(tmp_path / "o.mp4", export, ((frame, white) for frame in range(3)))
    with av.open(str(tmp_path / "o.mp4")) as container:
        shown = [frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)]
    assert [s.shape for s in shown] == [(height + height % 2, width + width % 2, 3)] * 3
    assert shown[0].min() > 240  # the padding repeats the image, it is no black border


def test_frames_that_no_encoder_takes_are_refused(tmp_path: Path) -> None:
    wide = np.zeros((2, 40_000, 3), dtype=np.uint8)
    with (
        open_export(small(tmp_path), Limits()) as export,
        pytest.raises(InputError, match="40000x2 pixels cannot be made into a video"),
    ):
        write_overlay(tmp_path / "o.mp4", export, [(0, wide)])
    assert [each.name for each in tmp_path.iterdir()] == ["export.xml"]


def test_labels_without_a_colour_get_one_each() -> None:
    plain = [Label(name, "", "any") for name in "abcdefgh"]
    colours = label_colours((*plain, Label("x", "#010203", "any")))
    assert colours["x"] == (1, 2, 3)
    assert len(set(colours.values())) == 9
