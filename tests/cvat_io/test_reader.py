"""Exports are read by the format's rules: frames, sizes, images, odd tracks, bounded memory."""

from __future__ import annotations

from pathlib import Path

import pytest

from config import Limits
from cvat_io.check import Inspection, inspect, require_trackable
from cvat_io.model import MaskShape
from cvat_io.reader import open_export
from errors import InputError
from tests.cvat_io.cvat_samples import (
    LABELS,
    SIZE,
    document,
    images,
    job,
    mask,
    png,
    track,
    write_zip,
)


def bare(folder: Path, *parts: str) -> Path:
    path = folder / "export.xml"
    path.write_bytes(document(*parts))
    return path


def look(folder: Path, *parts: str) -> Inspection:
    return inspect(bare(folder, *parts), Limits())


def shapes(path: Path) -> list[MaskShape]:
    with open_export(path, Limits()) as export:
        return [shape for shape in export.tracks() if isinstance(shape, MaskShape)]


def test_a_closing_shape_is_no_mask(tmp_path: Path) -> None:
    found = shapes(bare(tmp_path, job(), track(mask(2) + mask(3, outside=1))))
    assert [shape.frame for shape in found] == [2]


def test_a_missing_closing_shape_is_fine(tmp_path: Path) -> None:
    assert [s.frame for s in shapes(bare(tmp_path, job(), track(mask(2))))] == [2]


def test_a_zero_run_at_the_end_and_a_loose_box_are_read(tmp_path: Path) -> None:
    found = shapes(bare(tmp_path, job(), track(mask(rle="1, 2, 5, 0"))))
    assert found[0].mask.runs.tolist() == [1, 2, 5, 0]


def test_further_masks_of_a_track_are_kept_with_a_warning(tmp_path: Path) -> None:
    path = bare(tmp_path, job(), track(mask(2) + mask(4, rle="0, 8") + mask(5, outside=1)))
    assert [shape.frame for shape in shapes(path)] == [2, 4]
    (warning,) = inspect(path, Limits()).warnings
    assert "frame 4, track 0" in warning


def test_a_mask_track_that_begins_closed_has_no_mask_and_is_warned_of(tmp_path: Path) -> None:
    found = look(tmp_path, job(), track(mask(2, outside=1)))
    assert found.masks_by_label == {}
    assert "outside=1" in found.warnings[0]


def test_what_a_track_is_follows_from_its_first_key_shape(tmp_path: Path) -> None:
    box = '<box frame="{}" keyframe="{}" outside="0" occluded="0" xtl="1.00" z_order="0"></box>'
    found = look(
        tmp_path,
        job(),
        track(box.format(1, 1) + mask(2), 0),
        track(box.format(1, 0) + mask(2) + box.format(3, 1), 1),
    )
    assert found.others_by_kind == {"box": 1}
    assert found.masks_by_label == {"car": 1}


def test_the_same_mask_twice_is_taken_once_with_a_warning(tmp_path: Path) -> None:
    path = bare(tmp_path, job(), track(mask(2), 0), track(mask(2), 1), track(mask(3), 2))
    assert [(shape.frame, shape.track) for shape in shapes(path)] == [(2, "0"), (3, "2")]
    assert "twice" in inspect(path, Limits()).warnings[0]


def test_a_mask_without_pixels_is_left_out_with_a_warning(tmp_path: Path) -> None:
    found = look(tmp_path, job(), track(mask(2, rle="8")), track(mask(3), 1))
    assert found.key_frames == (3,)
    assert "no pixel" in found.warnings[0]


def test_deleted_frames_are_gaps_in_the_images(tmp_path: Path) -> None:
    members = {"annotations.xml": document(job(), track(mask(2))), **images(0, 2, 9)}
    path = write_zip(tmp_path / "7.zip", members)
    with open_export(path, Limits()) as export:
        assert list(export.images) == [0, 2, 9]
    found = inspect(path, Limits())
    require_trackable(found)
    assert "7 of 10 frames" in found.warnings[0]


def test_a_key_frame_without_its_image_is_refused(tmp_path: Path) -> None:
    members = {"annotations.xml": document(job(), track(mask(4))), **images(0, 2)}
    with pytest.raises(InputError, match="Frame 4 has masks but no image"):
        require_trackable(inspect(write_zip(tmp_path / "7.zip", members), Limits()))


def test_image_names_are_read_in_any_case(tmp_path: Path) -> None:
    members = {"annotations.xml": document(job()), "images/frame_000003.png": png()}
    with open_export(write_zip(tmp_path / "7.zip", members), Limits()) as export:
        assert export.images == {3: "images/frame_000003.png"}


def test_an_image_list_in_a_known_order_is_accepted(tmp_path: Path) -> None:
    meta = job(stop=2, mode="annotation", size="")
    members = {f"images/a/{n:02d}.png": png() for n in (11, 2, 5)}
    path = write_zip(
        tmp_path / "7.zip", {"annotations.xml": document(meta, track(mask(1))), **members}
    )
    with open_export(path, Limits()) as export:
        assert export.images == {
            0: "images/a/02.png",
            1: "images/a/05.png",
            2: "images/a/11.png",
        }
        assert (export.meta.width, export.meta.height) == (20, 10)


@pytest.mark.parametrize("names", [("1.png", "2.png", "10.png"), ("1.png", "2.png")])
def test_an_image_list_in_an_unknown_order_is_refused(
    tmp_path: Path, names: tuple[str, ...]
) -> None:
    members = {f"images/{name}": png() for name in names}
    members["annotations.xml"] = document(job(stop=2, mode="annotation", size=""))
    with pytest.raises(InputError, match="cannot be known which image"):
        open_export(write_zip(tmp_path / "7.zip", members), Limits())


def test_both_places_of_the_frame_size_are_found(tmp_path: Path) -> None:
    inside = job(size="", extra=SIZE)
    beside = job()
    for meta in (inside, beside):
        with open_export(bare(tmp_path, meta), Limits()) as export:
            assert (export.meta.width, export.meta.height) == (20, 10)


def test_sub_labels_of_skeletons_are_no_labels_of_tracks(tmp_path: Path) -> None:
    labels = LABELS.replace(
        "</labels>", "<label><name>head</name><parent>car</parent></label></labels>"
    )
    with pytest.raises(InputError, match='label "head"'):
        look(tmp_path, job(labels=labels), track(mask(1), label="head"))


def test_other_xml_files_are_named_but_not_read(tmp_path: Path) -> None:
    members = {
        "annotations.xml": document(job(), track(mask(1))),
        "backup/annotations.xml": b"<what",
        **images(1),
    }
    found = inspect(write_zip(tmp_path / "7.zip", members), Limits())
    assert 'holds "backup/annotations.xml"' in found.warnings[0]
    assert found.masks_by_label == {"car": 1}


def test_overlapping_jobs_of_a_task_are_warned_of(tmp_path: Path) -> None:
    segments = "<overlap>5</overlap><segments><segment/><segment/></segments>"
    found = look(tmp_path, job(extra=segments), track(mask(1)))
    assert "overlap by 5 frames" in found.warnings[0]


def test_every_pass_over_the_tracks_begins_anew(tmp_path: Path) -> None:
    with open_export(bare(tmp_path, job(), track(mask(1)), track(mask(2), 1)), Limits()) as export:
        first = export.tracks()
        next(first)
        assert len(list(export.tracks())) == 2
        assert len(list(first)) == 1
