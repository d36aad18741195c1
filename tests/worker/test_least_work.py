"""Promise: of a re-segmentation nothing but what a correction concerns is made anew.

Human frames come back as drawn. All other masks are the previous result's to the byte, but for the
objects concerned between a changed key frame and its neighbours: those are what a full run on the
same key frames makes of them.
"""

from __future__ import annotations

import tempfile
from bisect import bisect_left, bisect_right
from collections.abc import Mapping, Sequence
from dataclasses import replace
from itertools import chain
from pathlib import Path

import numpy as np
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from cvat_io.masks import paint
from cvat_io.model import MaskShape
from jobs.options import Direction, Mode
from tests.helpers.clips import (
    contents,
    masks_by_frame,
    tiny_clip,
    write_clip,
)
from tests.helpers.trips import (
    exported,
    key_frames,
    roughened,
    run,
)

LENGTH = 10
CLIP = tiny_clip(LENGTH)
KINDS = ("object", "thing")
EDITS = ("delete", "shift", "relabel", "name", "occlude", "add")

script = st.dictionaries(
    st.tuples(st.integers(0, LENGTH - 1), st.sampled_from(KINDS)),
    st.sampled_from(EDITS),
    max_size=4,
)


def edit(shape: MaskShape, how: str) -> list[MaskShape]:
    """What a human makes of one mask."""
    if how == "delete":
        return []
    if how == "shift":
        return [replace(shape, mask=replace(shape.mask, top=shape.mask.top + 2))]
    if how == "relabel":
        return [replace(shape, label="thing" if shape.label == "object" else "object")]
    if how == "name":  # only "object" has such an attribute
        return [replace(shape, attributes=(("track_id", "7"),))] if shape.label == "object" else []
    if how == "add":
        return [shape, replace(shape, mask=replace(shape.mask, top=shape.mask.top + 20))]
    return [replace(shape, occluded=True, z_order=4)]


@settings(max_examples=8, deadline=None)
@given(
    keys=st.sets(st.integers(0, LENGTH - 1), min_size=1, max_size=3),
    edits=script,
    direction=st.sampled_from(Direction),
)
def test_random_corrections_change_what_they_concern_and_nothing_else(
    keys: set[int], edits: Mapping[tuple[int, str], str], direction: Direction
) -> None:
    """Promise: exactly the least work, whatever is corrected, and human frames are sacred."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        first, previous = folder / "first.zip", folder / "previous.zip"
        run(write_clip(first, CLIP, sorted(keys)), folder / "smooth.zip")
        roughened(folder / "smooth.zip", previous)
        before = masks_by_frame(previous)
        given_back = exported(previous)
        now = {
            frame: list(
                chain.from_iterable(
                    edit(shape, edits[frame, shape.label])
                    if (frame, shape.label) in edits
                    else [shape]
                    for shape in given_back[frame]
                )
            )
            for frame in before
        }
        assume(any(now.values()))
        export = write_clip(
            folder / "now.zip", CLIP, (), masks=[*chain(*now.values())], with_images=False
        )
        again = folder / "again.zip"
        options = {"mode": Mode.RESEGMENT, "direction": direction}
        report = run(export, again, previous=previous, images=first, **options)
        after = masks_by_frame(again)
        # Every human frame as drawn.
        changed = {f for (f, _), how in edits.items() if f in before and how != "occlude"}
        human = sorted(keys | changed)
        assert key_frames(again) == human
        for frame in human:
            assert contents(after.get(frame, [])) == contents(now.get(frame, []))
        # All others as they were, but for the objects concerned beside a change.
        whole = folder / "whole.zip"
        drawn = [shape for frame in human for shape in now.get(frame, [])]
        full = {}
        if drawn:
            run(write_clip(folder / "f.zip", CLIP, (), masks=drawn), whole, direction=direction)
            full = masks_by_frame(whole)
        touched = 0
        for frame in sorted(set(range(LENGTH)) - set(human)):
            sides = beside(human, frame, direction)
            touched += bool(changed & set(sides))
            here = {at: how for at, how in edits.items() if at[0] in sides and how != "occlude"}
            concerned = {label for (_, label), how in here.items() if how != "add"}
            stay = [s for s in before.get(frame, []) if s.label not in concerned]
            as_was = contents(placed(stay, edits, frame))
            mine = contents(after.get(frame, []))
            assert all(mine.count(mask) == as_was.count(mask) for mask in as_was)
            if not here:
                assert mine == as_was
                continue
            kept = canvas(stay)
            # A key frame that a human left empty is none to a full run.
            if any(not now.get(side) for side in sides):
                continue
            # Where a label has one object still, it is what a full run makes of it.
            for label in concerned if not {"add", "relabel"} & {*here.values()} else ():
                anew = [s for s in full.get(frame, []) if s.label == label]
                left = [s for s in anew if 2 * (canvas([s]) & ~kept).sum() >= canvas([s]).sum()]
                expected = canvas(left) & ~kept
                assert np.array_equal(canvas(one(after, frame, label)), expected)
        assert report["frames_tracked"] <= touched


def canvas(shapes: Sequence[MaskShape]) -> NDArray[np.bool_]:
    """All pixels of some masks."""
    pixels = np.zeros(CLIP.maps[0].shape, dtype=np.bool_)
    for shape in shapes:
        paint(shape.mask, pixels, True)
    return pixels


def beside(keys: Sequence[int], frame: int, direction: Direction) -> list[int]:
    """The key frames on which the masks of a frame depend."""
    left, right = keys[: bisect_left(keys, frame)][-1:], keys[bisect_right(keys, frame) :][:1]
    return [*left, *right] if direction is Direction.BOTH else left


def one(masks: Mapping[int, list[MaskShape]], frame: int, label: str) -> list[MaskShape]:
    return [shape for shape in masks.get(frame, []) if shape.label == label]


def placed(
    shapes: list[MaskShape], edits: Mapping[tuple[int, str], str], frame: int
) -> list[MaskShape]:
    """Masks that stay, as a human placed them."""
    return [
        edit(shape, "occlude")[0] if edits.get((frame, shape.label)) == "occlude" else shape
        for shape in shapes
    ]
