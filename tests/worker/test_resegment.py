"""Promise: a re-segmentation computes what a correction touches, and takes over all else with
every edit that a human made; no mask that is in the export is ever lost."""

from __future__ import annotations

import tempfile
from dataclasses import replace
from itertools import chain
from pathlib import Path

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from config import Settings
from cvat_io.model import MaskShape
from cvat_io.result import read_note
from cvat_io.verify import VerificationError
from jobs.options import KeyFrames, Mode, RunOptions
from jobs.resegment import Changes
from tests.helpers.clips import (
    Clip,
    contents,
    masks_by_frame,
    shapes_of,
    tiny_clip,
    write_clip,
)
from worker.local import track

SETTINGS = Settings(ignore_labels=frozenset({"HUD"}))


def run(export: Path, out: Path, **options):
    extra = {key: options.pop(key) for key in ("previous", "images", "report") if key in options}
    return track(export, out, options=RunOptions(**options), settings=SETTINGS, **extra)


def key_frames(result: Path) -> str:
    """Which frames a result says are a human's."""
    note = read_note(result)
    assert note is not None
    return str(note["key_frames"])


def of(label: str, shapes: list[MaskShape]) -> list[tuple[object, ...]]:
    """All about the masks of one label."""
    return contents([shape for shape in shapes if shape.label == label])


def imported(previous: Path) -> dict[int, list[MaskShape]]:
    """The masks of a result as CVAT gives them back: all manual, groups forgotten."""
    return {
        frame: [replace(shape, source="manual", group_id=0) for shape in shapes]
        for frame, shapes in masks_by_frame(previous).items()
    }


@pytest.fixture
def round_trip(tmp_path):
    """A first result, and what CVAT exports after importing it and one edit on frame 9."""
    clip = tiny_clip(14)
    run(write_clip(tmp_path / "first.zip", clip, (0, 6)), tmp_path / "previous.zip")
    masks = [
        replace(s, source="manual")
        for frame, shapes in masks_by_frame(tmp_path / "previous.zip").items()
        for s in (shapes if frame != 9 else shapes_of(clip, 9, 9, without=frozenset({2})))
    ]
    export = write_clip(tmp_path / "now.zip", clip, (), masks=masks, with_images=False)
    return export, tmp_path / "previous.zip", tmp_path / "first.zip"


def test_a_correction_recomputes_only_the_gaps_beside_it(tmp_path, round_trip):
    export, previous, images = round_trip
    report = run(export, tmp_path / "r.zip", mode=Mode.RESEGMENT, previous=previous, images=images)
    before, now, after = (masks_by_frame(p) for p in (previous, export, tmp_path / "r.zip"))
    # Behind frame 9 nothing is left to compute: the object that was deleted there is taken away.
    assert [(s["start"], s["stop"]) for s in report["spans"]] == [(7, 8)]
    assert all(contents(after[frame]) == contents(before[frame]) for frame in range(1, 6))
    assert all(contents(after[frame]) == contents(now[frame]) for frame in (0, 6, 9))
    for frame in (7, 8, 10, 11, 12, 13):
        assert of("object", after[frame]) == of("object", before[frame])
    assert all({s.label for s in after[frame]} == {"object"} for frame in range(10, 14))
    assert key_frames(tmp_path / "r.zip") == "0,6,9"


def test_key_frames_are_remembered_over_several_corrections(tmp_path, round_trip):
    export, previous, images = round_trip
    run(export, tmp_path / "r2.zip", mode=Mode.RESEGMENT, previous=previous, images=images)
    second = [
        replace(s, source="manual")
        for frame, shapes in masks_by_frame(tmp_path / "r2.zip").items()
        if frame != 13
        for s in shapes
    ]
    clip = tiny_clip(14)
    again = write_clip(tmp_path / "again.zip", clip, (), masks=second)
    report = run(again, tmp_path / "r3.zip", mode=Mode.RESEGMENT, previous=tmp_path / "r2.zip")
    assert key_frames(tmp_path / "r3.zip") == "0,6,9,13"
    assert [(s["start"], s["stop"]) for s in report["spans"]] == [(10, 12)]
    assert 13 not in masks_by_frame(tmp_path / "r3.zip")


def test_no_change_gives_the_previous_masks_back(tmp_path):
    clip = tiny_clip(8)
    run(write_clip(tmp_path / "first.zip", clip, (0,)), tmp_path / "previous.zip")
    masks = [
        replace(s, source="manual")
        for shapes in masks_by_frame(tmp_path / "previous.zip").values()
        for s in shapes
    ]
    export = write_clip(tmp_path / "now.zip", clip, (), masks=masks)
    report = run(
        export, tmp_path / "r.zip", mode=Mode.RESEGMENT, previous=tmp_path / "previous.zip"
    )
    before, after = masks_by_frame(tmp_path / "previous.zip"), masks_by_frame(tmp_path / "r.zip")
    assert report["frames_tracked"] == 0
    assert {f: contents(s) for f, s in after.items()} == {f: contents(s) for f, s in before.items()}


def test_reusing_the_previous_result_goes_on_from_the_typed_frame(tmp_path):
    clip = tiny_clip(10)
    export = write_clip(tmp_path / "e.zip", clip, (0,))
    run(export, tmp_path / "previous.zip")
    report = run(
        export,
        tmp_path / "r.zip",
        mode=Mode.RESEGMENT,
        previous=tmp_path / "previous.zip",
        frames="5",
        reuse_previous=True,
    )
    before, after = masks_by_frame(tmp_path / "previous.zip"), masks_by_frame(tmp_path / "r.zip")
    assert contents(after[5]) == contents(before[5])
    assert [(s["start"], s["stop"]) for s in report["spans"]] == [(1, 4), (6, 9)]


@settings(max_examples=8, deadline=None)
@given(
    keys=st.sets(st.integers(0, 11), min_size=1, max_size=4),
    edits=st.dictionaries(st.integers(0, 11), st.sampled_from([{1}, {2}, {1, 2}]), max_size=3),
)
def test_whatever_is_corrected_nothing_else_than_its_neighbourhood_changes(keys, edits):
    with tempfile.TemporaryDirectory() as name:
        folder, clip = Path(name), tiny_clip(12)
        run(write_clip(folder / "first.zip", clip, sorted(keys)), folder / "previous.zip")
        before = masks_by_frame(folder / "previous.zip")
        now = {
            frame: [
                replace(shape, source="manual")
                for shape in shapes
                if clip_number(clip, shape) not in edits.get(frame, ())
            ]
            for frame, shapes in before.items()
        }
        assume(any(now.values()))
        export = write_clip(folder / "now.zip", clip, (), masks=[*chain(*now.values())])
        run(
            export,
            folder / "r.zip",
            mode=Mode.RESEGMENT,
            previous=folder / "previous.zip",
        )
        after = masks_by_frame(folder / "r.zip")
        human = sorted({*keys, *edits})
        for frame in range(12):
            if frame in human:
                assert contents(after.get(frame, [])) == contents(now.get(frame, []))
                continue
            beside = [k for k in human if k < frame][-1:] + [k for k in human if k > frame][:1]
            if not edits.keys() & set(beside):
                assert contents(after[frame]) == contents(before[frame])


def clip_number(clip, shape):
    """The object that a mask shows: each has a label of its own."""
    return next(number for number, kind in clip.kinds.items() if kind == shape.label)


def moved(shapes):
    """Corrected by a pixel."""
    return [replace(s, mask=replace(s.mask, left=s.mask.left + 1)) for s in shapes]


def beside(shapes):
    return [(shape.label, shape.source, shape.occluded, shape.z_order) for shape in shapes]


def test_edits_of_occluded_and_order_stay_on_frames_that_are_carried(tmp_path):
    clip = tiny_clip(8)
    export = write_clip(tmp_path / "first.zip", clip, (0,))
    previous = tmp_path / "previous.zip"
    run(export, previous)
    now = imported(previous)
    now[4] = [replace(s, occluded=s.label == "object", z_order=7 - i) for i, s in enumerate(now[4])]
    edited = write_clip(tmp_path / "now.zip", clip, (), masks=[*chain(*now.values())])
    report = run(edited, tmp_path / "r.zip", mode=Mode.RESEGMENT, previous=previous)
    before, after = masks_by_frame(previous), masks_by_frame(tmp_path / "r.zip")
    assert report["frames_tracked"] == 0
    assert beside(after[4]) == [("object", "auto", True, 7), ("thing", "auto", False, 6)]
    assert contents(after[5]) == contents(before[5])
    plain = [replace(shape, occluded=False, z_order=0) for shape in after[4]]
    assert contents(plain) == contents(before[4])


@pytest.mark.parametrize("reuse", [False, True])
def test_no_mask_comes_back_on_a_frame_that_was_deleted_in_cvat(tmp_path, reuse):
    clip = tiny_clip(8)
    previous = tmp_path / "previous.zip"
    run(write_clip(tmp_path / "first.zip", clip, (0,)), previous)
    now = imported(previous)
    del now[4]
    export = write_clip(
        tmp_path / "now.zip", clip, (), masks=[*chain(*now.values())], deleted=frozenset({4})
    )
    again = {"frames": "6", "reuse_previous": True} if reuse else {}
    run(export, tmp_path / "r.zip", mode=Mode.RESEGMENT, previous=previous, **again)
    assert sorted(masks_by_frame(tmp_path / "r.zip")) == [0, 1, 2, 3, 5, 6, 7]


def still(path: Path, keys) -> Path:
    """An export of a scene in which nothing moves, with the same masks on every key frame."""
    clip = tiny_clip(1)
    masks = [shape for key in keys for shape in shapes_of(clip, 0, key)]
    return write_clip(path, Clip(clip.images * 12, clip.maps * 12, clip.kinds), (), masks=masks)


@pytest.mark.parametrize("keyframes", KeyFrames)
def test_a_mask_copied_along_a_still_scene_is_kept_and_empties_nothing(tmp_path, keyframes):
    previous = tmp_path / "previous.zip"
    run(still(tmp_path / "first.zip", (0,)), previous)
    export = still(tmp_path / "now.zip", (0, 8))
    mine = masks_by_frame(export)[8]
    ours = [replace(shape, source="manual") for shape in masks_by_frame(previous)[8]]
    assert contents(mine) == contents(ours)  # equal to the pixel
    run(export, tmp_path / "r.zip", mode=Mode.RESEGMENT, previous=previous, keyframes=keyframes)
    after = masks_by_frame(tmp_path / "r.zip")
    assert sorted(after) == list(range(12))
    assert contents(after[8]) == contents(mine)
    assert key_frames(tmp_path / "r.zip") == "0,8"


@settings(max_examples=8, deadline=None)
@given(
    first=st.sets(st.integers(0, 11), min_size=1, max_size=3),
    second=st.sets(st.integers(0, 11), min_size=1, max_size=4),
)
def test_an_export_that_never_saw_our_result_gives_what_an_initial_run_gives(first, second):
    with tempfile.TemporaryDirectory() as name:
        folder, clip = Path(name), tiny_clip(12)
        run(write_clip(folder / "first.zip", clip, sorted(first)), folder / "previous.zip")
        export = write_clip(folder / "now.zip", clip, sorted(second))
        run(export, folder / "initial.zip")
        options = {"mode": Mode.RESEGMENT, "previous": folder / "previous.zip"}
        run(export, folder / "again.zip", **options)
        initial, again = (
            masks_by_frame(folder / "initial.zip"),
            masks_by_frame(folder / "again.zip"),
        )
        assert {f: contents(s) for f, s in again.items()} == {
            f: contents(s) for f, s in initial.items()
        }


def test_a_plan_that_would_lose_a_drawn_mask_is_never_published(tmp_path, monkeypatch):
    clip = tiny_clip(8)
    previous = tmp_path / "previous.zip"
    run(write_clip(tmp_path / "first.zip", clip, (0,)), previous)
    export = write_clip(tmp_path / "now.zip", clip, (0,), extra=moved(shapes_of(clip, 6, 6)))
    wrong = Changes(key_frames=(0, 3), changed=frozenset({3}), whole=frozenset({3}))
    monkeypatch.setattr("jobs.plan.find_changes", lambda *_, **__: wrong)
    with pytest.raises(VerificationError, match="frame 6 lost a mask"):
        run(export, tmp_path / "r.zip", mode=Mode.RESEGMENT, previous=previous)
    assert not (tmp_path / "r.zip").exists()


def test_objects_are_counted_once_whatever_was_carried_between_their_key_frames(tmp_path):
    clip = tiny_clip(14)
    previous = tmp_path / "previous.zip"
    first = write_clip(tmp_path / "first.zip", clip, (0, 6))
    assert run(first, previous)["objects"] == 2
    now = imported(previous)
    same = write_clip(tmp_path / "same.zip", clip, (), masks=[*chain(*now.values())])
    options = {"mode": Mode.RESEGMENT, "previous": previous}
    assert run(same, tmp_path / "r.zip", **options)["objects"] == 2
    now[10] = moved(now[10])
    edited = write_clip(tmp_path / "now.zip", clip, (), masks=[*chain(*now.values())])
    report = run(edited, tmp_path / "r2.zip", **options)
    assert [(s["start"], s["stop"]) for s in report["spans"]] == [(7, 9), (11, 13)]
    assert report["objects"] == 2
