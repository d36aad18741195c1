"""Promise: each kind of correction makes anew what it concerns and nothing else, and is told so."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from itertools import chain
from pathlib import Path

import pytest

from cvat_io.lineage import Lineage
from cvat_io.masks import iou
from cvat_io.model import LabelAttribute, MaskShape
from cvat_io.reader import open_export
from cvat_io.result import write_result
from cvat_io.verify import VerificationError
from cvat_io.verify_carried import verify_carried
from jobs.options import Mode
from tests.helpers.clips import (
    LABELS,
    contents,
    masks_by_frame,
    shapes_of,
    tiny_clip,
    write_clip,
)
from tests.helpers.trips import (
    LIMITS,
    exported,
    key_frames,
    objects_by_frame,
    plan_of,
    roughened,
    run,
)
from tests.worker.test_least_work import CLIP, LENGTH, edit


@pytest.fixture(scope="module")
def first(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """An export with key frames 0 and 6, and its result."""
    folder = tmp_path_factory.mktemp("first")
    export = write_clip(folder / "first.zip", CLIP, (0, 6))
    run(export, folder / "smooth.zip")
    return export, roughened(folder / "smooth.zip", folder / "previous.zip")


Now = dict[int, list[MaskShape]]


def corrected(folder: Path, first: tuple[Path, Path], now: Now, **options: object) -> Path:
    """The result of a re-segmentation of these masks, exported without images."""
    export = write_clip(
        folder / "now.zip", CLIP, (), masks=[*chain(*now.values())], with_images=False
    )
    images, previous = first
    again = folder / "again.zip"
    run(export, again, previous=previous, images=images, mode=Mode.RESEGMENT, **options)
    return again


def test_several_corrections_within_one_old_span_stay_between_themselves(
    tmp_path: Path, first: tuple[Path, Path]
) -> None:
    """Promise: recomputing never crosses or alters another human key frame, also adjacent ones."""
    now = exported(first[1])
    for frame in (2, 3, 9):
        now[frame] = [s for shape in now[frame] for s in edit(shape, "shift")]
    again = corrected(tmp_path, first, now)
    assert key_frames(again) == [0, 2, 3, 6, 9]
    after, before = masks_by_frame(again), masks_by_frame(first[1])
    for frame in (2, 3, 9):
        assert contents(after[frame]) == contents(now[frame])
    assert contents(after[0]) == contents(before[0])
    spans = plan_of(tmp_path / "now.zip", first[1], images=first[0]).plan.spans
    assert [(s.start, s.stop, s.anchors) for s in spans] == [
        (1, 1, (0, 2)),
        (4, 5, (3, 6)),
        (7, 8, (6, 9)),
    ]


@pytest.mark.parametrize(("frame", "spans"), [(0, [(1, 5)]), (9, [(7, 8)]), (5, [(1, 4)])])
def test_corrections_on_the_first_the_last_and_a_frame_beside_a_key_frame_are_right(
    tmp_path: Path, first: tuple[Path, Path], frame: int, spans: list[tuple[int, int]]
) -> None:
    """Promise: a correction anywhere is kept, and works on its own gaps alone."""
    now = exported(first[1])
    now[frame] = [s for shape in now[frame] for s in edit(shape, "shift")]
    again = corrected(tmp_path, first, now)
    assert contents(masks_by_frame(again)[frame]) == contents(now[frame])
    plan = plan_of(tmp_path / "now.zip", first[1], images=first[0]).plan
    assert [(s.start, s.stop) for s in plan.spans] == spans


def test_objects_keep_their_numbers_from_result_to_result(
    tmp_path: Path, first: tuple[Path, Path]
) -> None:
    """Promise: identity survives; new objects get new numbers, and none is given out twice."""
    now = exported(first[1])
    added = shapes_of(CLIP, 8, 8)[0]
    now[8] = [
        *(replace(s, mask=replace(s.mask, left=s.mask.left + 1)) for s in now[8]),
        replace(added, mask=replace(added.mask, top=added.mask.top + 30)),
    ]
    again = corrected(tmp_path, first, now)
    before, after = objects_by_frame(first[1]), objects_by_frame(again)
    for frame in range(LENGTH):
        for number in (1, 2):
            assert after[frame][number].label == before[frame][number].label
    assert sorted(after[8]) == [1, 2, 3]
    assert sorted(after[9]) == [1, 2, 3]
    assert sorted(after[7]) == [1, 2, 3]
    assert sorted(after[5]) == [1, 2]


def test_an_object_that_was_lost_and_is_drawn_again_is_followed_from_both_sides(
    tmp_path: Path, first: tuple[Path, Path]
) -> None:
    """Promise: what is drawn anew may be an object that was lost on the way; it is not doubled."""
    export, whole = first
    masks = [s for frame in range(LENGTH) for s in masks_by_frame(whole)[frame]]
    lost = [s for s in masks if not (s.label == "thing" and 3 <= s.frame <= 5)]
    old = tmp_path / "old.zip"
    with open_export(export, LIMITS) as opened:
        ids = Lineage(0, 2, opened.meta.frames)
        numbered = ids.numbered((s, 1 if s.label == "object" else 2) for s in lost)
        note = {"key_frames": "0,6", **ids.note()}
        write_result(old, opened, numbered, note, keep_ids=True)
    now = exported(old)
    now[4] += [s for s in shapes_of(CLIP, 4, 4) if s.label == "thing"]
    again = corrected(tmp_path, (export, old), now)
    before, after = objects_by_frame(old), objects_by_frame(again)
    for frame in range(LENGTH):
        assert sorted(after[frame]) == [1, 2]
        if frame != 4:  # a human's now
            assert contents([after[frame][1]]) == contents([before[frame][1]])
    assert iou(after[3][2].mask, shapes_of(CLIP, 3, 3)[1].mask) > 0.5


def test_what_a_human_placed_stays_where_the_mask_is_made_anew(
    tmp_path: Path, first: tuple[Path, Path]
) -> None:
    """Promise: edits of occluded and z-order survive this re-segmentation and later ones."""
    now = exported(first[1])
    now[4] = [replace(shape, occluded=True, z_order=3) for shape in now[4]]
    again = corrected(tmp_path, first, now)
    later = exported(again)
    assert all((s.occluded, s.z_order) == (True, 3) for s in later[4])
    later[3] = [s for shape in later[3] for s in edit(shape, "shift")]
    (tmp_path / "two").mkdir()
    last = corrected(tmp_path / "two", (first[0], again), later)
    after = masks_by_frame(last)
    assert [(s.occluded, s.z_order) for s in after[4]] == [(True, 3)] * 2
    assert all((s.occluded, s.z_order) == (False, 0) for s in after[5])
    assert contents(after[4]) != contents(masks_by_frame(again)[4])


def test_an_id_switch_is_corrected_by_the_name_alone(tmp_path: Path) -> None:
    """Promise: the attribute decides before pixels do, as in a run on the key frames alone."""
    clip = tiny_clip(LENGTH, objects=1)

    def named(shapes: Sequence[MaskShape], name: str) -> list[MaskShape]:
        return [replace(shape, attributes=(("track_id", name),)) for shape in shapes]

    first, previous = tmp_path / "first.zip", tmp_path / "previous.zip"
    run(write_clip(first, clip, (), masks=named(shapes_of(clip, 0, 0), "1")), previous)
    now = exported(previous)
    now[5] = named(now[5], "2")
    again, whole = tmp_path / "again.zip", tmp_path / "whole.zip"
    export = write_clip(tmp_path / "now.zip", clip, (), masks=[*chain(*now.values())])
    run(export, again, previous=previous, mode=Mode.RESEGMENT)
    run(write_clip(tmp_path / "keys.zip", clip, (), masks=[*now[0], *now[5]]), whole)
    after, full = objects_by_frame(again), objects_by_frame(whole)
    assert [sorted(after[frame]) for frame in (0, 5, 9)] == [[1], [2], [2]]
    assert {frame: sorted(shown) for frame, shown in after.items()} == {
        frame: sorted(shown) for frame, shown in full.items()
    }


def test_a_label_that_is_given_an_attribute_makes_no_key_frames(
    tmp_path: Path, first: tuple[Path, Path]
) -> None:
    """Promise: what CVAT fills in by itself is nobody's work; what a person says of a mask is."""
    labels = [
        replace(label, attributes=(LabelAttribute("object_id", False, "number", "0", ()),))
        if label.name == "thing"
        else label
        for label in LABELS
    ]
    now = {
        frame: [
            replace(shape, attributes=(("object_id", "0"),)) if shape.label == "thing" else shape
            for shape in shapes
        ]
        for frame, shapes in exported(first[1]).items()
    }
    now[3] = [
        replace(shape, attributes=(("object_id", "7"),)) if shape.label == "thing" else shape
        for shape in now[3]
    ]
    now[8] = [replace(shape, occluded=True, z_order=4) for shape in now[8]]
    export = write_clip(
        tmp_path / "now.zip", CLIP, (), masks=[*chain(*now.values())], labels=labels
    )
    again = tmp_path / "again.zip"
    report = run(export, again, previous=first[1], mode=Mode.RESEGMENT)
    assert key_frames(again) == [0, 3, 6]
    assert report["frames_tracked"] == 4
    after, before = masks_by_frame(again), masks_by_frame(first[1])
    for frame in (0, 3, 6):
        assert contents(after[frame]) == contents(now[frame])
    assert contents(after[7]) == contents(before[7])
    assert [(s.source, s.occluded, s.z_order) for s in after[8]] == [("auto", True, 4)] * 2


def test_a_result_without_a_lineage_is_built_upon_all_the_same(
    tmp_path: Path, first: tuple[Path, Path]
) -> None:
    """Promise: where it is not known which mask is which object's, whole gaps are made anew."""
    old = tmp_path / "old.zip"
    with open_export(first[1], LIMITS) as opened:
        masks = [s for shapes in masks_by_frame(first[1]).values() for s in shapes]
        write_result(old, opened, masks, {"key_frames": "0,6"})
    now = exported(old)
    now[8] = [s for s in now[8] if s.label == "object"]
    again = corrected(tmp_path, (first[0], old), now)
    plan = plan_of(tmp_path / "now.zip", old, images=first[0]).plan
    assert [(s.start, s.stop) for s in plan.spans] == [(7, 7), (9, 9)]
    assert key_frames(again) == [0, 6, 8]
    assert [s.label for s in masks_by_frame(again)[9]] == ["object"]


def test_reusing_the_previous_result_takes_what_the_export_lacks_and_no_more(
    tmp_path: Path, first: tuple[Path, Path]
) -> None:
    """Promise: masks that the export holds count; its empty frames are those of our last result."""
    drawn = [s for shape in shapes_of(CLIP, 8, 8) for s in edit(shape, "shift")]
    again = corrected(tmp_path, first, {8: drawn}, reuse_previous=True, frames="3")
    before, after = masks_by_frame(first[1]), masks_by_frame(again)
    assert key_frames(again) == [0, 3, 6, 8]
    assert contents(after[8]) == contents(drawn)
    for frame in (0, 3, 6):
        assert contents(after[frame]) == contents(before[frame])
    assert sorted(after) == list(range(LENGTH))


def test_the_verifier_finds_every_mask_that_should_have_stayed(
    tmp_path: Path, first: tuple[Path, Path]
) -> None:
    """Promise: carried over byte for byte, proven before anything is published."""
    export, previous = first

    def check(masks: Now) -> None:
        out = tmp_path / "out.zip"
        with open_export(export, LIMITS) as opened, open_export(previous, LIMITS) as old:
            ordered = [shape for frame in sorted(masks) for shape in masks[frame]]
            write_result(out, opened, ordered, {})
            verify_carried(
                out, opened, old, key_frames=(0, 6), ignore_labels=frozenset(),
                sequence=range(LENGTH), limits=LIMITS,
                kept=lambda frame: frozenset({1}) if frame in (7, 8, 9) else None,
            )  # fmt: skip

    sound = masks_by_frame(previous)
    check(sound)
    check(sound | {8: [s for s in sound[8] if s.label == "object"]})  # 2 need not stay
    for wrong in (
        {3: sound[3][:1]},
        {3: [*sound[3], *edit(sound[3][0], "shift")]},
        {3: [replace(s, occluded=True) for s in sound[3]]},
        {3: [s for shape in sound[3] for s in edit(shape, "shift")]},
        {8: [s for s in sound[8] if s.label == "thing"]},
    ):
        with pytest.raises(VerificationError, match=r"frame [38]"):
            check(sound | wrong)
