"""Promise: a run computes exactly the gaps that it must, and a bad wish gets one clear sentence."""

from __future__ import annotations

import json
import zipfile
from dataclasses import replace
from pathlib import Path

import pytest

from config import Limits
from cvat_io.reader import open_export
from cvat_io.result import write_result
from errors import InputError
from jobs.frames_text import format_frames
from jobs.options import Direction, KeyFrames, Mode, RunOptions
from jobs.plan import Origin, RunInputs, RunPlan, plan_run
from jobs.renewal import Renewal
from jobs.spans import plan_spans
from tests.helpers.clips import hud, shapes_of, tiny_clip, write_clip


def test_a_plan_survives_its_json():
    plan = RunPlan(
        key_frames=(0, 3, 4),
        spans=plan_spans(
            range(10), (0, 3, 4), direction=Direction.BOTH, keyframes=KeyFrames.COMPLETE
        ),
        fill=frozenset({7, 8}),
        carried=Origin.PREVIOUS,
        borrowed=frozenset({3}),
        renewals=(Renewal(1, 2, frozenset({2, 5})), Renewal(5, 9, frozenset())),
        seeds={4: (2, 0)},
        anew={3: (1,), 4: (0, 2)},
        ours={0: (1,)},
    )
    assert RunPlan.from_json(plan.to_json()) == plan
    assert RunPlan.from_json(replace(plan, fill=None).to_json()).fill is None


def inputs(annotations: Path, previous: Path | None = None, **options) -> RunInputs:
    return RunInputs(
        annotations=annotations,
        images=annotations,
        previous=previous,
        options=RunOptions(**options),
        engine="builtin",
        ignore_labels=frozenset({"HUD"}),
        limits=Limits(),
    )


CLIP = tiny_clip(12)


def result(folder: Path, keys, *, length: int = 12, note: bool = True, start: int = 0) -> Path:
    """A previous result as this project writes it: exact masks everywhere, ours called auto."""
    export = write_clip(folder / "old.zip", tiny_clip(length), keys, start=start)
    clip = tiny_clip(length)
    masks = [
        replace(shape, source="manual" if index in keys else "auto")
        for index in range(length)
        for shape in shapes_of(clip, index, index + start)
    ]
    path = folder / "previous.zip"
    with open_export(export, Limits()) as opened:
        write_result(path, opened, masks, {"key_frames": format_frames(keys)} if note else {})
    return path


def imported(folder: Path, edits=None) -> Path:
    """What CVAT exports after it imported the result: everything is manual; `edits` by frame."""
    masks = []
    for index in range(12):
        without = (edits or {}).get(index, frozenset())
        masks += shapes_of(CLIP, index, index, without=without)
    return write_clip(folder / "now.zip", CLIP, (), masks=masks)


def test_a_frame_with_only_ignored_labels_is_no_key_frame(tmp_path):
    export = write_clip(tmp_path / "e.zip", CLIP, (4,), extra=[hud(0), hud(9)])
    assert plan_run(inputs(export)).key_frames == (4,)


def test_a_corrected_frame_is_found_and_only_its_gaps_are_planned(tmp_path):
    previous = result(tmp_path, (0, 5, 10))
    plan = plan_run(inputs(imported(tmp_path, {7: frozenset({1})}), previous, mode=Mode.RESEGMENT))
    assert plan.key_frames == (0, 5, 7, 10)
    assert [(s.start, s.stop) for s in plan.spans] == [(6, 6), (8, 9)]
    assert plan.carried is Origin.PREVIOUS


def test_a_frame_whose_masks_were_all_deleted_is_a_key_frame(tmp_path):
    edits = {11: frozenset({1, 2})}
    plan = plan_run(
        inputs(imported(tmp_path, edits), result(tmp_path, (0, 5)), mode=Mode.RESEGMENT)
    )
    assert plan.key_frames == (0, 5, 11)
    assert [(s.start, s.stop, s.anchors) for s in plan.spans] == [(6, 10, (5, 11))]


@pytest.mark.parametrize("listed", ["x", "0-999999999", "5-0", ["0", 5], 3])
def test_key_frames_that_a_previous_result_cannot_have_are_its_fault_not_of_who_types(
    tmp_path, listed
):
    previous = result(tmp_path, (0, 5))
    with zipfile.ZipFile(previous, "a") as archive:
        archive.comment = json.dumps({"mask_relay": 1, "key_frames": listed}).encode()
    with pytest.raises(InputError, match=r"comment of previous\.zip .* as it was written"):
        plan_run(inputs(imported(tmp_path), previous, mode=Mode.RESEGMENT))


def test_nothing_changed_means_nothing_to_compute(tmp_path):
    plan = plan_run(inputs(imported(tmp_path), result(tmp_path, (0, 5)), mode=Mode.RESEGMENT))
    assert (plan.key_frames, plan.spans) == ((0, 5), ())


def test_without_a_note_the_sources_of_the_previous_result_tell_its_key_frames(tmp_path):
    previous = result(tmp_path, (2, 6), note=False)
    plan = plan_run(inputs(imported(tmp_path), previous, mode=Mode.RESEGMENT))
    assert plan.key_frames == (2, 6)


def test_typed_frames_count_as_corrected_though_they_do_not_differ(tmp_path):
    previous = result(tmp_path, (0,))
    plan = plan_run(inputs(imported(tmp_path), previous, mode=Mode.RESEGMENT, frames="8, 11"))
    assert plan.key_frames == (0, 8, 11)
    assert [(s.start, s.stop) for s in plan.spans] == [(1, 7), (9, 10)]


def test_an_export_made_without_importing_our_result_empties_nothing(tmp_path):
    drawn = shapes_of(CLIP, 8, 8, without=frozenset({2}))
    export = write_clip(tmp_path / "now.zip", CLIP, (0, 5), extra=drawn)
    plan = plan_run(inputs(export, result(tmp_path, (0, 5)), mode=Mode.RESEGMENT))
    assert plan.key_frames == (0, 5, 8)
    assert [(s.start, s.stop) for s in plan.spans] == [(6, 7), (9, 11)]


def test_without_importing_every_drawn_frame_is_a_key_frame_though_it_equals_ours(tmp_path):
    export = write_clip(tmp_path / "now.zip", CLIP, (0, 5, 8))
    plan = plan_run(inputs(export, result(tmp_path, (0, 5)), mode=Mode.RESEGMENT))
    assert plan.key_frames == (0, 5, 8)
    assert [(s.start, s.stop) for s in plan.spans] == [(6, 7), (9, 11)]


def test_without_importing_a_key_frame_that_was_given_up_is_filled_again(tmp_path):
    export = write_clip(tmp_path / "now.zip", CLIP, (0, 9))
    plan = plan_run(inputs(export, result(tmp_path, (0, 5, 9)), mode=Mode.RESEGMENT))
    assert plan.key_frames == (0, 9)
    assert [(s.start, s.stop) for s in plan.spans] == [(1, 8)]


@pytest.mark.parametrize(("emptied", "believed"), [((1, 2, 3, 4, 5), True), (range(1, 7), False)])
def test_emptied_frames_are_believed_up_to_half_of_ours(tmp_path, emptied, believed):
    edits = {frame: frozenset({1, 2}) for frame in emptied}
    previous = result(tmp_path, (0, 11))
    plan = plan_run(inputs(imported(tmp_path, edits), previous, mode=Mode.RESEGMENT))
    assert all((frame in plan.key_frames) is believed for frame in emptied)


def test_images_may_come_from_the_earlier_export(tmp_path):
    bare = write_clip(tmp_path / "now.zip", CLIP, (0, 5), with_images=False)
    first = write_clip(tmp_path / "first.zip", CLIP, (0,))
    with pytest.raises(InputError, match="no images"):
        plan_run(inputs(bare))
    assert plan_run(replace(inputs(bare), images=first)).key_frames == (0, 5)


def test_reusing_the_previous_result_starts_from_the_typed_frames(tmp_path):
    export = write_clip(tmp_path / "e.zip", CLIP, (0,))
    previous = result(tmp_path, (0,))
    options = {"mode": Mode.RESEGMENT, "reuse_previous": True}
    plan = plan_run(inputs(export, previous, frames="6", **options))
    assert (plan.key_frames, plan.borrowed) == ((0, 6), {6})
    with pytest.raises(InputError, match="frames to start from"):
        plan_run(inputs(export, previous, **options))
    with pytest.raises(InputError, match="no previous result"):
        plan_run(inputs(export, **options))


def test_masks_that_we_made_tell_themselves_when_there_is_no_previous_result(tmp_path):
    masks = [
        replace(shape, source="manual" if index in (0, 6) else "auto")
        for index in range(12)
        for shape in shapes_of(CLIP, index, index)
    ]
    export = write_clip(tmp_path / "e.zip", CLIP, (), masks=masks)
    plan = plan_run(inputs(export, mode=Mode.RESEGMENT))
    assert plan.key_frames == (0, 6)
    assert [(s.start, s.stop) for s in plan.spans] == [(1, 5), (7, 11)]


@pytest.mark.parametrize("frames", ["", "8"])
def test_resegmentation_without_anything_to_tell_ours_from_theirs_asks_for_the_result(
    tmp_path, frames
):
    with pytest.raises(InputError, match=r"--previous RESULT\.zip"):
        plan_run(inputs(imported(tmp_path), mode=Mode.RESEGMENT, frames=frames))


def test_a_previous_result_of_another_job_is_refused(tmp_path):
    previous = result(tmp_path, (3,), start=3)
    with pytest.raises(InputError, match=r"frames 3 to 14.*frames 0 to 11.*same job"):
        plan_run(inputs(imported(tmp_path), previous, mode=Mode.RESEGMENT))


def test_frames_outside_the_job_are_refused_with_its_range(tmp_path):
    export = write_clip(tmp_path / "e.zip", CLIP, (0,), start=100, step=5)
    with pytest.raises(InputError, match="frames 100 to 155 in steps of 5"):
        plan_run(inputs(export, frames="7"))


def test_a_drawn_frame_without_its_image_is_refused(tmp_path):
    export = write_clip(tmp_path / "e.zip", CLIP, (0, 4), deleted=frozenset({4}))
    with pytest.raises(InputError, match="Frame 4 has masks but no image"):
        plan_run(inputs(export))


def test_typed_frames_without_an_image_are_refused_by_number(tmp_path):
    gone = frozenset({4, 5})
    export = write_clip(tmp_path / "e.zip", CLIP, (0,), deleted=gone)
    for frames in ("2, 4", "4-5"):
        with pytest.raises(InputError, match=r"Frame 4 has no image in e\.zip"):
            plan_run(inputs(export, frames=frames))
    assert plan_run(inputs(export, frames="3-6")).fill == {3, 6}


@pytest.mark.parametrize(
    ("frames", "sentence"),
    [
        (",", 'The frames "," name no frame'),
        ("3", "Frame 3 is a key frame, there is nothing to fill"),
        ("3,6", "The frames 3,6 are key frames, there is nothing to fill"),
        ("1-2", r"What is to be filled \(1-2\) lies before the first key frame, 3"),
    ],
)
def test_frames_that_leave_nothing_to_do_are_refused(tmp_path, frames, sentence):
    export = write_clip(tmp_path / "e.zip", CLIP, (3, 6))
    with pytest.raises(InputError, match=sentence):
        plan_run(inputs(export, frames=frames, direction=Direction.FORWARD))
