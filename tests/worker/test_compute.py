"""Promise: a span goes on from the last whole frame, and nobody can tell that it was disturbed."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from config import Limits
from cvat_io.masks import encode
from cvat_io.model import MaskShape
from errors import InputError
from jobs.options import Direction, KeyFrames, RunOptions
from jobs.plan import RunInputs, RunPlan, plan_run
from tests.helpers.clips import shapes_of, tiny_clip, write_clip
from tests.worker.spans import compute
from worker.compute import compute_span
from worker.spanfile import SpanFile


def inputs(export: Path, **options) -> RunInputs:
    return RunInputs(
        annotations=export,
        images=export,
        previous=None,
        options=RunOptions(**options),
        engine="flow",
        ignore_labels=frozenset({"HUD"}),
        limits=Limits(),
    )


def undisturbed(given: RunInputs, folder: Path) -> tuple[RunPlan, list[bytes]]:
    plan = plan_run(given)
    folder.mkdir()
    return plan, [compute(given, plan, span, folder).file.read_bytes() for span in plan.spans]


KEYFRAME_SETS = st.sets(st.integers(0, 8), min_size=1, max_size=3)


@settings(
    max_examples=12, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(
    keys=KEYFRAME_SETS,
    kills=st.lists(st.integers(1, 9), min_size=1, max_size=3),
    torn=st.integers(1, 40),
    direction=st.sampled_from(Direction),
    keyframes=st.sampled_from(KeyFrames),
)
def test_any_kills_and_torn_lines_leave_the_file_as_if_undisturbed(
    keys, kills, torn, direction, keyframes
):
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        clip = tiny_clip(9, objects=3)
        # Each key frame lacks another object, so that there is something to carry through.
        masks = [
            shape
            for i, key in enumerate(sorted(keys))
            for shape in shapes_of(clip, key, key, without=frozenset({i + 1}))
        ]
        export = write_clip(folder / "e.zip", clip, (), masks=masks)
        given_inputs = inputs(export, direction=direction, keyframes=keyframes)
        plan, expected = undisturbed(given_inputs, folder / "calm")
        wild = folder / "wild"
        wild.mkdir()
        for span, calm in zip(plan.spans, expected, strict=True):
            for fence, kill in enumerate(kills, 1):
                outcome = compute(given_inputs, plan, span, wild, fence=fence, stop_after=kill)
                if not outcome.stopped:
                    continue
                for file in wild.glob(f"{span.ordinal}.{fence}*.jsonl"):
                    whole = file.stat().st_size
                    os.truncate(file, max(0, whole - torn))
            last = compute(given_inputs, plan, span, wild, fence=len(kills) + 1)
            assert not last.stopped
            assert last.file.read_bytes() == calm


def test_a_successor_computes_no_frame_twice(tmp_path):
    clip = tiny_clip(12)
    given_inputs = inputs(write_clip(tmp_path / "e.zip", clip, (0,)))
    plan = plan_run(given_inputs)
    (span,) = plan.spans
    first = compute(given_inputs, plan, span, tmp_path, fence=1, stop_after=4)
    assert first.stopped
    assert SpanFile(first.file).frames == (1, 2, 3, 4)
    seen = []
    compute_span(
        given_inputs,
        plan,
        span,
        folder=tmp_path,
        fence=2,
        device="cpu",
        on_progress=lambda done, total: seen.append((done, total)),
        should_stop=lambda: False,
    )
    assert seen == [(done, 11) for done in range(4, 12)]


def test_a_span_that_is_complete_already_is_not_computed_again(tmp_path):
    given_inputs = inputs(write_clip(tmp_path / "e.zip", tiny_clip(8), (0, 7)))
    plan = plan_run(given_inputs)
    (span,) = plan.spans
    first = compute(given_inputs, plan, span, tmp_path, fence=1)
    again = compute(given_inputs, plan, span, tmp_path, fence=5)
    assert again.stages["track"] == 0
    assert again.file.read_bytes() == first.file.read_bytes()


def test_progress_of_a_fused_span_reaches_exactly_its_frames(tmp_path):
    given_inputs = inputs(write_clip(tmp_path / "e.zip", tiny_clip(10), (0, 9)))
    plan = plan_run(given_inputs)
    seen = []
    compute_span(
        given_inputs,
        plan,
        plan.spans[0],
        folder=tmp_path,
        fence=1,
        device="cpu",
        on_progress=lambda done, total: seen.append((done, total)),
        should_stop=lambda: False,
    )
    assert seen == sorted(seen)
    assert seen[0] == (0, 8)
    assert seen[-1] == (8, 8)


def test_of_two_earlier_attempts_the_one_that_came_further_is_taken_over(tmp_path):
    given_inputs = inputs(write_clip(tmp_path / "e.zip", tiny_clip(12), (0,)))
    plan = plan_run(given_inputs)
    (span,) = plan.spans
    far, near = tmp_path / "far", tmp_path / "near"
    for folder, stop in ((far, 6), (near, 2)):
        folder.mkdir()
        compute(given_inputs, plan, span, folder, fence=1, stop_after=stop)
    (far / "0.1.jsonl").rename(tmp_path / "0.1.jsonl")
    (near / "0.1.jsonl").rename(tmp_path / "0.2.jsonl")
    outcome = compute(given_inputs, plan, span, tmp_path, fence=3, stop_after=1)
    assert SpanFile(outcome.file).frames == tuple(range(1, 8))


def test_objects_keep_their_numbers_across_key_frames_and_new_ones_get_new(tmp_path):
    clip = tiny_clip(6, objects=3)
    masks = [
        *shapes_of(clip, 0, 0, without=frozenset({2})),
        *reversed(shapes_of(clip, 5, 5)),
    ]
    given_inputs = inputs(write_clip(tmp_path / "e.zip", clip, (), masks=masks))
    plan = plan_run(given_inputs)
    file = SpanFile(compute(given_inputs, plan, plan.spans[0], tmp_path).file)
    assert file.numbers == {0: (1, 2), 5: (2, 3, 1)}


def test_a_name_that_a_human_gave_outweighs_where_the_masks_lie(tmp_path):
    clip = tiny_clip(6, objects=3)
    first, third = shapes_of(clip, 0, 0, without=frozenset({2}))

    def named(shape, name):
        from dataclasses import replace

        return replace(shape, attributes=(("track_id", name),))

    one, three = shapes_of(clip, 5, 5, without=frozenset({2}))
    masks = [named(first, "a"), named(third, "b"), named(one, "b"), named(three, "a")]
    given_inputs = inputs(write_clip(tmp_path / "e.zip", clip, (), masks=masks))
    plan = plan_run(given_inputs)
    file = SpanFile(compute(given_inputs, plan, plan.spans[0], tmp_path).file)
    assert file.numbers == {0: (1, 2), 5: (2, 1)}


def test_300_objects_are_followed_with_numbers_above_255(tmp_path):
    clip = tiny_clip(3, objects=300, width=640, height=480)
    given_inputs = inputs(write_clip(tmp_path / "e.zip", clip, (0,)))
    plan = plan_run(given_inputs)
    file = SpanFile(compute(given_inputs, plan, plan.spans[0], tmp_path).file)
    with file:
        numbers = {item.number for item in file.read(1).masks}
    assert max(numbers) > 255


def test_where_human_masks_overlap_the_upper_one_is_followed_there(tmp_path):
    clip = tiny_clip(3, objects=1)
    square = np.ones((12, 12), dtype=np.bool_)
    masks = [
        MaskShape(frame=0, label="object", mask=encode(square, 10, 10), z_order=1),
        MaskShape(frame=0, label="thing", mask=encode(square, 16, 10), z_order=0),
    ]
    given_inputs = inputs(write_clip(tmp_path / "e.zip", clip, (), masks=masks))
    plan = plan_run(given_inputs)
    file = SpanFile(compute(given_inputs, plan, plan.spans[0], tmp_path).file)
    with file:
        areas = {item.number: int(item.mask.runs[1::2].sum()) for item in file.read(1).masks}
    assert areas[1] > areas[2]


def test_a_damaged_image_is_named_and_nothing_hangs(tmp_path):
    import zipfile

    good = write_clip(tmp_path / "good.zip", tiny_clip(8), (0,))
    plan = plan_run(inputs(good))
    bad = tmp_path / "bad.zip"
    with zipfile.ZipFile(good) as source, zipfile.ZipFile(bad, "w") as target:
        for name in source.namelist():
            data = source.read(name)
            target.writestr(name, data[:200] if name.endswith("5.PNG") else data)
    with pytest.raises(InputError, match=r"frame_000005\.PNG"):
        compute(inputs(bad), plan, plan.spans[0], tmp_path)
