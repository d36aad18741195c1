"""Promise: what a second run changed is named, object by object and frame by frame, and no more.

However files write the same pixels, and whether or not they know which object a mask shows.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from cvat_io.model import Mask
from jobs.differences import FileSide, LiveSide, differences
from jobs.layer_file import LayerFile
from jobs.layer_views import DifferencesView, FrameEntry
from tests.jobs.layer_samples import box, export, layer, result, shape


@pytest.fixture
def before(tmp_path: Path) -> LayerFile:
    masks = [
        each
        for frame in range(8)
        for each in ((shape(frame, box(frame, 2)), 1), (shape(frame, box(20, 9), "road"), 2))
    ]
    return layer(result(tmp_path / "before.zip", masks))


def changed(folder: Path) -> LayerFile:
    """Object 1 is moved by two pixels on frames 3 and 4, object 2 ends at 5, object 3 begins."""
    masks = []
    for frame in range(8):
        masks.append((shape(frame, box(frame + 2 * (frame in (3, 4)), 2)), 1))
        if frame < 6:
            masks.append((shape(frame, box(20, 9), "road"), 2))
        if frame > 6:
            masks.append((shape(frame, box(30, 20)), 3))
    return layer(result(folder / "after.zip", masks))


def told(view: DifferencesView) -> list[tuple[int, str, str, str]]:
    return [(each.object, each.label, each.kind, each.frames) for each in view.objects]


def test_what_changed_is_named_by_object_and_frame(before: LayerFile, tmp_path: Path) -> None:
    view = differences(FileSide(before), FileSide(changed(tmp_path)))
    assert told(view) == [
        (1, "car", "changed", "3-4"),
        (2, "road", "removed", "6-7"),
        (3, "car", "added", "7"),
    ]
    assert view.frames == "3-4,6-7"
    assert view.same == 6
    assert view.objects[0].iou == pytest.approx(4 / 8)  # six columns, two of them moved on
    assert [each.iou for each in view.objects[1:]] == [None, None]


def test_the_other_way_round_what_was_added_is_removed(before: LayerFile, tmp_path: Path) -> None:
    view = differences(FileSide(changed(tmp_path)), FileSide(before))
    assert told(view) == [
        (1, "car", "changed", "3-4"),
        (2, "road", "added", "6-7"),
        (3, "car", "removed", "7"),
    ]


def test_a_layer_does_not_differ_from_itself(before: LayerFile) -> None:
    view = differences(FileSide(before), FileSide(before))
    assert view == DifferencesView(frames="", objects=(), same=10)


def test_pixels_count_and_not_how_a_file_writes_them(tmp_path: Path) -> None:
    tight = box(4, 4)
    loose = Mask(3, 4, 8, 5, np.array([1, 6, 2, 6, 2, 6, 2, 6, 2, 6, 1], dtype=np.int32))
    a = layer(export(tmp_path / "a.zip", [shape(2, tight), shape(5, tight)]))
    b_path = export(tmp_path / "b.zip", [shape(2, tight), shape(5, tight)])
    b = layer(b_path)
    assert told(differences(FileSide(a), FileSide(b))) == []
    # The same mask in a box that is not tight, as CVAT itself writes some.
    odd = result(tmp_path / "odd.zip", [(shape(2, tight), 1), (shape(5, tight), 1)])
    xml = loosened(odd, tight, loose)
    assert told(differences(FileSide(a), FileSide(layer(xml)))) == []


def loosened(archive: Path, tight: Mask, loose: Mask) -> Path:
    """The annotations of an archive with one mask written in another way."""
    import zipfile

    with zipfile.ZipFile(archive) as opened:
        text = opened.read("annotations.xml").decode()

    def written(mask: Mask) -> str:
        rle = ", ".join(map(str, mask.runs.tolist()))
        return (
            f'rle="{rle}" left="{mask.left}" top="{mask.top}" width="{mask.width}" '
            f'height="{mask.height}"'
        )

    assert written(tight) in text
    path = archive.with_suffix(".xml")
    path.write_text(text.replace(written(tight), written(loose)))
    return path


def test_masks_of_an_export_are_paired_by_overlap(before: LayerFile, tmp_path: Path) -> None:
    drawn = [shape(0, box(0, 2)), shape(3, box(4, 2)), shape(3, box(20, 9), "road")]
    view = differences(FileSide(layer(export(tmp_path / "drawn.zip", drawn))), FileSide(before))
    assert told(view) == [
        (1, "car", "added", "1-2,4-7"),
        (1, "car", "changed", "3"),
        (2, "road", "added", "0-2,4-7"),
    ]


def test_another_label_is_a_change(before: LayerFile, tmp_path: Path) -> None:
    masks = [
        each
        for frame in range(8)
        for each in (
            (shape(frame, box(frame, 2), "road" if frame == 4 else "car"), 1),
            (shape(frame, box(20, 9), "road"), 2),
        )
    ]
    view = differences(FileSide(before), FileSide(layer(result(tmp_path / "b.zip", masks))))
    assert told(view) == [(1, "road", "changed", "4")]
    assert view.objects[0].iou == 1.0


class Work:
    """Frame-by-frame work that began from a layer."""

    def __init__(self, file: LayerFile, moved: int) -> None:
        self.file, self.moved = file, moved

    def entries(self, frames: list[int]) -> list[FrameEntry]:
        found = []
        for frame in frames:
            masks = self.file.masks(self.file.on(frame))
            if frame == self.moved:
                masks[0] = replace(masks[0], box=(9, *masks[0].box[1:]))
            found.append(FrameEntry(frame=frame, key=False, masks=tuple(masks)))
        return found


def test_frame_by_frame_work_is_compared_as_it_stands(before: LayerFile) -> None:
    live = LiveSide(Work(before, 5), before.frames_all)  # type: ignore[arg-type]
    view = differences(FileSide(before), live)
    assert told(view) == [(1, "car", "changed", "5")]
    assert told(differences(live, live)) == []


def test_many_changed_frames_are_all_named_and_some_are_measured(tmp_path: Path) -> None:
    files = []
    for name, shift in (("a", 0), ("b", 1)):
        masks = [(shape(frame, box(10 + shift, 4, 10, 10)), 1) for frame in range(10)]
        files.append(FileSide(layer(result(tmp_path / f"{name}.zip", masks))))
    view = differences(*files)
    assert told(view) == [(1, "car", "changed", "0-9")]
    assert view.objects[0].iou == pytest.approx(9 / 11, abs=1e-4)
    assert view.same == 0
