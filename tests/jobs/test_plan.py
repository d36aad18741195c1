"""Promise: a run computes exactly the gaps that it must, and a bad wish gets one clear sentence."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from config import Limits
from cvat_io.reader import open_export
from cvat_io.result import write_result
from errors import InputError
from jobs.frames_text import format_frames, parse_frames
from jobs.options import Direction, KeyFrames, MemoryKeeps, Mode, Prompts, RunOptions
from jobs.plan import Origin, RunInputs, RunPlan, plan_run
from jobs.renewal import Renewal
from jobs.spans import plan_spans
from tests.helpers.clips import hud, shapes_of, tiny_clip, write_clip
from tests.helpers.shapes import add_tracks, box, polygon, track

TEN = tuple(range(10))


def spans(sequence, keys, **options):
    options.setdefault("direction", Direction.BOTH)
    options.setdefault("keyframes", KeyFrames.COMPLETE)
    planned = plan_spans(sequence, keys, **options)
    assert [span.ordinal for span in planned] == list(range(len(planned)))
    return [(s.start, s.stop, str(s.direction), s.anchors, s.frames_total) for s in planned]


@pytest.mark.parametrize(
    ("keys", "expected"),
    [
        ((0,), [(1, 9, "forward", (0,), 9)]),
        ((9,), [(0, 8, "backward", (9,), 9)]),
        ((0, 9), [(1, 8, "both", (0, 9), 8)]),
        (
            (3, 6),
            [
                (0, 2, "backward", (3,), 3),
                (4, 5, "both", (3, 6), 2),
                (7, 9, "forward", (6,), 3),
            ],
        ),
        ((4, 5), [(0, 3, "backward", (4,), 4), (6, 9, "forward", (5,), 4)]),
        (TEN, []),
        ((), []),
    ],
)
def test_every_gap_between_key_frames_is_one_span(keys, expected):
    assert spans(TEN, keys) == expected


def test_forward_only_leaves_what_lies_before_the_first_key_frame():
    assert spans(TEN, (3, 6), direction=Direction.FORWARD) == [
        (4, 5, "forward", (3, 6), 2),
        (7, 9, "forward", (6,), 3),
    ]


def test_steps_and_deleted_frames_count_only_frames_that_exist():
    sequence = (100, 103, 109, 112, 121)
    assert spans(sequence, (103,)) == [
        (100, 100, "backward", (103,), 1),
        (109, 121, "forward", (103,), 3),
    ]


def test_one_single_frame_that_is_drawn_leaves_nothing_to_do():
    for keyframes in KeyFrames:
        assert spans((5,), (5,), keyframes=keyframes) == []


@pytest.mark.parametrize(
    ("fill", "expected"),
    [
        ({1}, [(1, 2, "backward", (3,), 2)]),
        ({7}, [(7, 7, "forward", (6,), 1)]),
        ({4}, [(4, 5, "both", (3, 6), 2)]),
        ({3, 6}, []),
    ],
)
def test_wanted_frames_alone_decide_which_spans_are_computed_and_how_far(fill, expected):
    assert spans(TEN, (3, 6), fill=frozenset(fill)) == expected


def test_a_forward_span_that_is_cut_does_not_go_on_to_the_next_key_frame():
    wanted = frozenset({2})
    assert spans(TEN, (0, 9), direction=Direction.FORWARD, fill=wanted) == [
        (1, 2, "forward", (0,), 2)
    ]


def test_only_gaps_beside_a_changed_key_frame_are_computed_again():
    assert spans(TEN, (0, 3, 6, 9), changed=frozenset({3})) == [
        (1, 2, "both", (0, 3), 2),
        (4, 5, "both", (3, 6), 2),
    ]
    assert spans(TEN, (0, 3, 6, 9), changed=frozenset({9})) == [(7, 8, "both", (6, 9), 2)]
    assert spans(TEN, (0, 3), changed=frozenset()) == []


def test_a_gap_in_which_a_key_frame_was_given_up_is_computed_again():
    assert spans(TEN, (0, 6, 9), changed=frozenset({3})) == [(1, 5, "both", (0, 6), 5)]
    assert spans(TEN, (3, 6), changed=frozenset({0})) == [(0, 2, "backward", (3,), 3)]
    assert spans(TEN, (3, 6), changed=frozenset({8})) == [(7, 9, "forward", (6,), 3)]


def test_partial_key_frames_make_one_span_with_all_of_them_as_anchors():
    partial = {"keyframes": KeyFrames.PARTIAL}
    assert spans(TEN, (3, 6), **partial) == [(0, 9, "both", (3, 6), 10)]
    assert spans(TEN, (3, 6), direction=Direction.FORWARD, **partial) == [
        (4, 9, "forward", (3, 6), 6)
    ]
    assert spans(TEN, (3, 6), changed=frozenset(), **partial) == []


@given(
    st.integers(1, 40).flatmap(
        lambda n: st.tuples(st.just(n), st.sets(st.integers(0, n - 1), min_size=1))
    ),
    st.integers(0, 5),
    st.integers(1, 4),
)
def test_spans_never_overlap_and_cover_every_frame_that_is_not_drawn(job, start, step):
    length, drawn = job
    sequence = range(start, start + length * step, step)
    keys = sorted(sequence[index] for index in drawn)
    planned = plan_spans(sequence, keys, direction=Direction.BOTH, keyframes=KeyFrames.COMPLETE)
    covered = [f for s in planned for f in sequence if s.start <= f <= s.stop]
    assert sorted([*covered, *keys]) == list(sequence)
    assert all(span.frames_total == (span.stop - span.start) // step + 1 for span in planned)


@pytest.mark.parametrize(
    ("text", "frames", "expected"),
    [
        ("", range(10), ()),
        ("7, 9-11,", range(20), (7, 9, 10, 11)),
        ("3;3,1", range(10), (1, 3)),
        ("30-36", range(30, 60, 3), (30, 33, 36)),
        ("31 - 37", range(30, 60, 3), (33, 36)),
    ],
)
def test_frames_are_read_as_people_type_them(text, frames, expected):
    assert parse_frames(text, frames) == expected


@pytest.mark.parametrize(
    "text", ["x", "1-", "-1", "5-3", "60", "40-90", "31", "31-32", "1e3", "9" * 5000, "1--2", "٣"]
)
def test_bad_frames_are_refused_with_the_range_and_the_step(text):
    with pytest.raises(InputError, match="frames 30 to 57 in steps of 3"):
        parse_frames(text, range(30, 60, 3))


@given(st.sets(st.integers(0, 60)), st.integers(0, 9), st.integers(1, 5))
def test_frames_written_as_text_are_read_back(picked, start, step):
    frames = range(start, start + 61 * step, step)
    chosen = tuple(sorted(frames[index] for index in picked))
    assert parse_frames(format_frames(chosen, step), frames) == chosen


def test_a_plan_survives_its_json():
    plan = RunPlan(
        key_frames=(0, 3, 4),
        spans=plan_spans(TEN, (0, 3, 4), direction=Direction.BOTH, keyframes=KeyFrames.COMPLETE),
        fill=frozenset({7, 8}),
        carried=Origin.PREVIOUS,
        borrowed=frozenset({3}),
        renewals=(Renewal(1, 2, frozenset({2, 5})), Renewal(5, 9, frozenset())),
        seeds={4: (2, 0)},
    )
    assert RunPlan.from_json(plan.to_json()) == plan
    assert RunPlan.from_json(replace(plan, fill=None).to_json()).fill is None


# From files


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


def noted(export: Path, **options: object) -> tuple[str, ...]:
    engine = str(options.setdefault("engine", "flow"))
    given = RunInputs(
        annotations=export,
        images=export,
        previous=None,
        options=RunOptions(**options),
        engine=engine,
        ignore_labels=frozenset(),
        limits=Limits(),
    )
    plan = plan_run(given)
    assert RunPlan.from_json(plan.to_json()) == plan
    return plan.notes


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({}, ()),
        ({"engine": "auto", "memory_frames": 4, "seed": 7}, ()),  # not settled yet which it is
        ({"engine": "builtin-fast", "seed": 7}, ()),
        ({"engine": "deaot-l", "memory_frames": 4}, ()),
        ({"engine": "deaot-b", "memory_gap": 5}, ()),
        ({"refine": True, "segmenter": "sam-vit-b"}, ()),
        ({"memory_frames": 4}, ("memory-frames changes nothing here: only the deaot engines",)),
        (
            {"engine": "builtin", "memory_gap": 4, "memory_keeps": MemoryKeeps.NEWEST},
            ("memory-gap and memory-keeps change nothing here: only the deaot engines",),
        ),
        (
            {"engine": "deaot-b", "memory_frames": 4},
            ("memory-frames changes nothing here: without memory-gap deaot-b remembers the key",),
        ),
        ({"seed": 7}, ("seed changes nothing here: flow draws no random numbers",)),
        ({"prompts": Prompts.BOXES}, ("prompts asks for masks of every rectangle, but",)),
        (
            {"prompts": Prompts.BOTH},
            ("prompts asks for masks of every rectangle, but", "prompts asks for masks of every p"),
        ),
        ({"segmenter": "sam-vit-b"}, ("The segmenter sam-vit-b is asked nothing here: only",)),
        (
            {"refine": True, "segmenter": "sam-vit-b", "direction": Direction.FORWARD},
            ("refine changes nothing here: no frame lies between two key frames",),
        ),
        (
            {"refine": True, "segmenter": "sam-vit-b", "frames": "8"},
            ("refine changes nothing here: no frame lies between two key frames",),
        ),
    ],
)
def test_options_that_change_nothing_are_told_of_in_a_sentence(
    tmp_path: Path, options: dict[str, object], said: tuple[str, ...]
) -> None:
    """Nobody is refused for them, and nobody waits for what they would do."""
    export = write_clip(tmp_path / "e.zip", tiny_clip(10), (0, 6))
    notes = noted(export, **options)
    assert len(notes) == len(said)
    assert all(map(str.startswith, notes, said)), notes


def test_shapes_that_are_there_are_not_missed_and_one_without_a_pixel_is_refused(
    tmp_path: Path,
) -> None:
    """By the plan: before a worker has begun with anything."""
    clip = tiny_clip(6)
    path = write_clip(tmp_path / "e.zip", clip, (0,))
    export = add_tracks(path, track(91, "object", box((3, 3, 9, 9), 3)))
    assert noted(export, prompts=Prompts.BOXES, segmenter="sam-vit-b") == ()
    for number, shape in enumerate(
        (polygon(((5, 5), (5.02, 9.02), (5.01, 9.03)), 2), box((5.1, 5.1, 5.2, 5.2), 2))
    ):
        path = write_clip(tmp_path / f"{number}.zip", clip, (0,))
        with pytest.raises(InputError, match=r"frame 2 \(track 93\) covers no pixel"):
            noted(add_tracks(path, track(93, "object", shape)), prompts=Prompts.BOTH)
