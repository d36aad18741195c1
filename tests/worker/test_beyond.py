"""Promise: a plan says which masks go or stay beyond the frames that a re-segmentation makes anew.

Each sentence is held against what the very run then does to every mask.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import replace
from itertools import chain
from pathlib import Path

import pytest

from cvat_io.reader import open_export
from cvat_io.result import read_note, write_result
from jobs.beyond import beyond
from jobs.frames_text import parse_frames
from jobs.options import Direction, KeyFrames, Mode
from tests.helpers.clips import content, masks_by_frame, shapes_of, tiny_clip, write_clip
from tests.helpers.trips import LIMITS, exported, objects_by_frame, plan_of, roughened, run

LENGTH = 30
CLIP = tiny_clip(LENGTH)
FORWARD, PARTIAL = {"direction": Direction.FORWARD}, {"keyframes": KeyFrames.PARTIAL}


def without(frame: int, label: str) -> Callable[[dict], None]:
    def edit(now: dict) -> None:
        now[frame] = [shape for shape in now[frame] if shape.label != label]

    return edit


def both(*edits: Callable[[dict], None]) -> Callable[[dict], None]:
    def edit(now: dict) -> None:
        for each in edits:
            each(now)

    return edit


def moved(frame: int, label: str) -> Callable[[dict], None]:
    def edit(now: dict) -> None:
        now[frame] = [
            replace(s, mask=replace(s.mask, top=s.mask.top + 2)) if s.label == label else s
            for s in now[frame]
        ]

    return edit


def called(frame: int, label: str, other: str) -> Callable[[dict], None]:
    def edit(now: dict) -> None:
        now[frame] = [
            replace(s, label=other, attributes=()) if s.label == label else s for s in now[frame]
        ]

    return edit


def joined_by(frame: int, label: str) -> Callable[[dict], None]:
    """A further mask of a label, apart from all others."""

    def edit(now: dict) -> None:
        (one,) = (shape for shape in now[frame] if shape.label == label)
        now[frame] = [*now[frame], replace(one, mask=replace(one.mask, top=one.mask.top + 16))]

    return edit


THING = 'Object 2 ("thing"): '
TAKEN = "are taken away, since no key frame next to them shows it"


@pytest.mark.parametrize(
    ("keys", "edit", "options", "said"),
    [
        ((0, 15), without(20, "thing"), {}, f"its 9 masks on frames 21-29 {TAKEN}."),
        # That the frames are computed for the sake of another object changes nothing.
        (
            (0, 15), both(without(20, "thing"), moved(20, "object")), {},
            f"its 9 masks on frames 21-29 {TAKEN}.",
        ),
        ((0, 15), without(20, "thing"), {"frames": "20"}, f"its 9 masks on frames 21-29 {TAKEN}."),
        (
            (0, 15), both(without(18, "thing"), without(25, "thing")), {},
            f"its 10 masks on frames 19-24, 26-29 {TAKEN}.",
        ),
        (
            (0, 15, 25), without(20, "thing"), {},
            "its 5 masks on frames 25-29 stay, since key frame 25 shows it, and it is followed "
            "back from there to frame 21.",
        ),
        (
            (0, 15, 25), called(20, "thing", "object"), {},
            "its 5 masks on frames 25-29 stay, since key frame 25 shows it, and it is followed "
            "back from there to frame 21.\n"
            'What is new of "object" on frame 20 is followed no further than key frames 15, 25, '
            "which lack it.",
        ),
        (
            (0, 15, 29), without(20, "thing"), FORWARD,
            "its 8 masks on frames 21-28 are taken away, since the key frame before lacks it; its "
            "mask on frame 29 stays, since key frame 29 shows it.",
        ),
        (
            (0, 15), without(20, "thing"), PARTIAL,
            "it goes on through frame 20, where you took it away, since key frames are partial and "
            "key frame 0 shows it.",
        ),
        (
            (0,), without(0, "thing"), PARTIAL,
            "its 29 masks on frames 1-29 are taken away, since no key frame shows it.",
        ),
        (
            (0, 15), joined_by(20, "thing"), {},
            '\nWhat is new of "thing" on frame 20 is followed no further than key frame 15, which '
            "lacks it.",
        ),
        (
            (0, 15, 25), joined_by(20, "thing"), FORWARD,
            '\nWhat is new of "thing" on frame 20 is followed no further than key frame 25, which '
            "lacks it.",
        ),
        # Drawn on both: whether it is one and the same a pass will tell.
        ((0, 15), both(joined_by(15, "thing"), joined_by(20, "thing")), {},
            '\nWhat is new of "thing" on frame 15 is followed no further than key frame 0, which '
            "lacks it."),
        ((0, 15), moved(20, "thing"), {}, None),
        ((0, 15), without(29, "thing"), {}, None),
    ],
)  # fmt: skip
def test_what_is_said_of_an_object_is_what_the_run_does(
    tmp_path: Path,
    keys: tuple[int, ...],
    edit: Callable[[dict], None],
    options: dict,
    said: str | None,
) -> None:
    """Promise: one plain line for an object that is taken away or goes on, and it is true."""
    first, previous = tmp_path / "first.zip", tmp_path / "previous.zip"
    write_clip(first, CLIP, keys)
    run(first, tmp_path / "smooth.zip", **{k: v for k, v in options.items() if k != "frames"})
    now = exported(roughened(tmp_path / "smooth.zip", previous))
    edit(now)
    known, _, new = (said or "").partition("\n")
    sentences = [THING + known] if known else []
    held_to_the_run(tmp_path, first, previous, now, options, [*sentences, *([new] if new else [])])


def test_what_we_added_to_key_frames_is_not_said_to_keep_an_object(tmp_path: Path) -> None:
    """Promise: where a person takes back the only mask that they drew, ours go with it."""
    first, whole = tmp_path / "first.zip", tmp_path / "whole.zip"
    masks = [*shapes_of(CLIP, 0, 0), shapes_of(CLIP, 15, 15)[0]]
    run(write_clip(first, CLIP, (), masks=masks), whole, **PARTIAL)
    now = exported(roughened(whole, tmp_path / "rough.zip"))
    without(0, "thing")(now)
    held_to_the_run(
        tmp_path, first, tmp_path / "rough.zip", now, PARTIAL,
        [f"{THING}its 29 masks on frames 1-29 are taken away, since no key frame shows it."],
    )  # fmt: skip


def test_an_object_that_a_new_key_frame_happens_to_lack_is_told_of(tmp_path: Path) -> None:
    """Promise: also masks of an object that nobody touched do not vanish without a word."""
    first, whole = tmp_path / "first.zip", tmp_path / "whole.zip"
    write_clip(first, CLIP, (0,))
    run(first, whole)
    hidden = {18, 19, 20, 21, 22}
    previous = tmp_path / "previous.zip"
    thin(whole, previous, hidden)
    now = exported(roughened(previous, tmp_path / "rough.zip"))
    moved(20, "object")(now)
    held_to_the_run(
        tmp_path, first, tmp_path / "rough.zip", now, {},
        [f"{THING}its 7 masks on frames 23-29 {TAKEN}."],
    )  # fmt: skip


def thin(result: Path, out: Path, hidden: set[int]) -> None:
    """The same result in which the thing has no masks on some frames."""
    note = read_note(result)
    assert note is not None
    note.pop("mask_relay")
    masks = masks_by_frame(result)
    shapes = [
        shape
        for frame in sorted(masks)
        for shape in masks[frame]
        if not (shape.label == "thing" and frame in hidden)
    ]
    with open_export(result, LIMITS) as archive:
        write_result(out, archive, shapes, note, keep_ids=True)


def held_to_the_run(
    folder: Path, first: Path, previous: Path, now: dict, options: dict, said: list[str]
) -> None:
    """Compare what a plan says with `said`, and with what the run does to the thing's masks."""
    masks = [*chain(*now.values())]
    export = write_clip(folder / "now.zip", CLIP, (), masks=masks, with_images=False)
    told = beyond(plan_of(export, previous, images=first, **options))
    assert told == said
    again = folder / "again.zip"
    run(export, again, previous=previous, images=first, mode=Mode.RESEGMENT, **options)
    before, after = objects_by_frame(previous), objects_by_frame(again)
    for part in re.split("; ", " ".join(told)):
        if found := re.search(r"on frames? ([0-9, -]+?) (is|are|stay|stays)\b", part):
            for frame in parse_frames(found[1], range(LENGTH)):
                if "taken away" in part:
                    assert 2 not in after.get(frame, {})
                else:
                    assert pixels(after[frame][2]) == pixels(before[frame][2])
    back = re.search("back from there to frame ([0-9]+)", " ".join(told))
    assert back is None or 2 in after[int(back[1])]
    if found := re.search("no further than key frames? ([0-9, ]+), which", " ".join(told)):
        ends = parse_frames(found[1], range(LENGTH))
        assert not any(set(after[frame]) - {1, 2} for frame in ends)
        assert any(set(shown) - {1, 2} for shown in after.values())
    if "goes on through" in " ".join(told):
        assert 2 in after[20]
    if not told:
        assert all(
            2 in after[frame] for frame in before if 2 in before[frame] and 2 in now_of(now, frame)
        )


def now_of(now: dict, frame: int) -> set[int]:
    return {1 if shape.label == "object" else 2 for shape in now[frame]}


def pixels(shape) -> tuple[object, ...]:
    return content(shape)[1:6]
