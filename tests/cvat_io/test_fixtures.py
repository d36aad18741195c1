"""Every real export at hand is read, or refused with the sentence that helps."""

from __future__ import annotations

from pathlib import Path

import pytest
from lxml import etree

from config import Limits
from cvat_io import masks
from cvat_io.check import inspect, require_trackable
from cvat_io.model import ExportKind, MaskShape, OtherTrack
from cvat_io.reader import open_export
from errors import InputError
from tests.cvat_io.cvat_samples import FIXTURES, needs_fixtures

pytestmark = needs_fixtures


def test_the_job_264_is_read_with_its_images_and_all_its_masks() -> None:
    found = inspect(FIXTURES / "airacing_264_job_masks.zip", Limits())
    require_trackable(found)
    assert found.meta.kind is ExportKind.JOB
    assert found.meta.id == "264"
    assert list(found.meta.frames) == list(range(12))
    assert (found.width, found.height) == (1920, 1080)
    assert found.image_count == 12
    assert found.key_frames == (0,)
    assert found.masks_by_label == {"drivable-area": 1, "ego": 1, "opponent-car": 3}
    assert found.warnings == ()


def test_a_label_to_ignore_makes_no_key_frame() -> None:
    names = frozenset({"drivable-area", "ego", "opponent-car"})
    found = inspect(FIXTURES / "airacing_264_job_masks.zip", Limits(), names)
    assert found.key_frames == ()
    assert sum(found.masks_by_label.values()) == 5
    with pytest.raises(InputError, match="IGNORE_LABELS"):
        require_trackable(found)


def test_absolute_frame_numbers_of_a_job_are_kept() -> None:
    path = FIXTURES / "airacing_251_job_masks_subset.xml"
    found = inspect(path, Limits())
    assert (found.meta.start_frame, found.meta.stop_frame) == (1995, 3994)
    assert found.key_frames == (1995, 2187, 3994)
    with pytest.raises(InputError, match="Save images"):
        require_trackable(found)
    require_trackable(found, images_elsewhere=True)


def test_steps_attributes_and_sizes_of_a_task_are_read() -> None:
    with open_export(FIXTURES / "synthetic_allshapes_task_step3.xml", Limits()) as export:
        meta = export.meta
        shapes = list(export.tracks())
    assert meta.kind is ExportKind.TASK
    assert list(meta.frames) == list(range(10, 35, 3))
    assert (meta.width, meta.height, meta.source) == (160, 120, "v.mp4")
    assert [label.name for label in meta.labels if label.parent is None] == [
        "cat & dog",
        "Straße",
        "pose",
        "Kind",
    ]
    assert meta.labels[0].attributes[0].values == ("a", "b")
    drawn = [shape for shape in shapes if isinstance(shape, MaskShape)]
    assert drawn[0].attributes == (
        ("q", "b"),
        ("truncated", "true"),
        ("id", "7"),
        ("note <x>", 'a "b" & ü'),
    )
    assert drawn[1].group_id == 4
    assert [shape.frame for shape in drawn] == [10, 22, 31, 34]
    others = [shape for shape in shapes if isinstance(shape, OtherTrack)]
    assert [other.kind for other in others] == [
        "polygon",
        "box",
        "ellipse",
        "polyline",
        "cuboid",
        "skeleton",
    ]


@pytest.mark.parametrize(
    ("name", "count"),
    [
        ("synthetic_allshapes_task_step3.xml", 6),
        ("datumaro_forvideo_step3_skeleton.xml", 4),
        ("task2025_boxes_86tracks.xml", 86),
    ],
)
def test_other_tracks_are_kept_to_the_letter(name: str, count: int) -> None:
    """Both forms of skeletons among them."""
    path = FIXTURES / name
    text = path.read_bytes()
    with open_export(path, Limits()) as export:
        others = list(export.others())
    assert len(others) == count
    assert all(b"  " + other.xml + b"\n" in text for other in others)


@pytest.mark.parametrize(
    "name", ["datumaro_forvideo_step3_skeleton.xml", "task2025_boxes_86tracks.xml"]
)
def test_a_task_without_masks_is_readable_but_cannot_be_tracked(name: str) -> None:
    found = inspect(FIXTURES / name, Limits())
    assert found.masks_by_label == {}
    with pytest.raises(InputError, match="holds no masks"):
        require_trackable(found)


@pytest.mark.parametrize("name", ["images11_datumaro_asset.xml", "images11_job_polygon.xml"])
def test_cvat_for_images_is_refused_with_the_format_to_choose(name: str) -> None:
    with pytest.raises(InputError, match=r'export again as "CVAT for video 1\.1"'):
        inspect(FIXTURES / name, Limits())


def test_every_shape_of_every_fixture_survives_as_the_same_pixels() -> None:
    """Against a decoder that is nothing but the format's rule."""
    for path in sorted(Path(FIXTURES).glob("*.xml")):
        if path.name.startswith("images11"):
            continue
        root = etree.parse(str(path)).getroot()
        expected = []
        for element in root.iterfind("track/mask[@outside='0']"):
            box: list[int] = []
            for index, run in enumerate(str(element.get("rle")).split(",")):
                box += [index % 2] * int(run)
            expected.append((int(str(element.get("frame"))), int(str(element.get("left"))), box))
        with open_export(path, Limits()) as export:
            found = [
                (shape.frame, shape.mask.left, masks.decode(shape.mask).ravel().tolist())
                for shape in export.tracks()
                if isinstance(shape, MaskShape)
            ]
        assert found == expected
