"""Objects of a session: added, named, moved to another label, merged, split, ended and started."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from cvat_io.masks import encode, paint
from cvat_io.model import Mask
from errors import InputError, one_line
from jobs.session_change import Change, Done
from jobs.session_edits import take_off
from jobs.session_masks import Origin, pack
from jobs.session_state import State

MOST_OBJECTS = 2000  # of one session
MOST_NAME = 200  # characters


def add(state: State, name: str, label: str) -> Done:
    """A new object, which is on no frame yet, under a number that none had before."""
    require_label(state, label)
    if len(state.row.objects) >= MOST_OBJECTS:
        raise InputError(
            f"This session has {MOST_OBJECTS} objects, more than people can tell apart: delete or "
            "merge some first."
        )
    number = state.row.next_object
    state.row.next_object += 1
    change = Change(state)
    made: dict[str, Any] = {"number": number, "name": named(name), "label": label}
    if made["name"]:
        made["renamed"] = True
    change.objects = [*state.row.objects, made]
    return Done(change, made=number)


def rename(state: State, number: int, name: str) -> Done:
    """Another name; an empty one takes it away."""
    known = state.require_object(number)
    return Done(_with(state, {**known, "name": named(name), "renamed": True}))


def relabel(state: State, number: int, label: str) -> Done:
    """Another label, on all frames."""
    known = state.require_object(number)
    require_label(state, label)
    if label == known["label"]:
        return Done(Change(state))
    kept = {name: known[name] for name in known if name != "attributes"}
    change = _with(state, {**kept, "label": label, "renamed": True})
    for found in state.outlines(state.head.frames):  # whoever shows them sees another label
        if number in found.numbers:
            change.frames[found.frame] = (found.key, found.standing, found.trail)
    return Done(change)


def merge(state: State, numbers: Sequence[int], into: int) -> Done:
    """Make one object of several, on each frame of all their pixels."""
    if into not in numbers or len(set(numbers)) < 2:
        raise InputError(
            "To merge objects name at least two of them, and with into the one that stays."
        )
    numbers = tuple(dict.fromkeys(numbers))
    for number in numbers:
        state.require_object(number)
    label = state.require_object(into)["label"]
    other = next((n for n in numbers if state.objects[n]["label"] != label), None)
    if other is not None:
        raise InputError(
            f'Objects {into} and {other} have different labels, "{one_line(label, 60)}" and '
            f'"{one_line(state.objects[other]["label"], 60)}": relabel one of them first.'
        )
    change = Change(state)
    gone = set(numbers) - {into}
    there = [o.frame for o in state.outlines(state.head.frames) if not gone.isdisjoint(o.numbers)]
    for found in state.frames(there, numbers):
        parts = found.masks
        like = next((shown for shown in parts if shown.number == into), parts[0])
        shape = replace(like.shape, mask=_together([shown.mask for shown in parts]))
        origin = Origin.HUMAN if found.key else Origin.COMPUTED
        score = like.score if len(parts) == 1 else None
        change.put(found.frame, into, origin, pack(shape, score, like.why))
        for shown in parts:
            if shown.number in gone:
                change.put(found.frame, shown.number, Origin.NONE)
    change.objects = [each for each in state.row.objects if each["number"] not in gone]
    return Done(change)


def split(state: State, number: int, frame: int) -> Done:
    """Make what an object is from a frame on a new object."""
    known = state.require_object(number)
    state.require_frame(frame)
    after = [o.frame for o in state.outlines(state.head.frames) if number in o.numbers]
    done = add(state, "", known["label"])
    change, made = done.change, done.made
    assert made is not None
    moved = 0
    for found in state.frames([each for each in after if each >= frame], {number}):
        shown = found.mask_of(number)
        if shown is None:
            continue
        moved += 1
        origin = Origin.HUMAN if found.key else Origin.COMPUTED
        change.put(found.frame, made, origin, pack(shown.shape, shown.score, shown.why))
        change.put(found.frame, number, Origin.NONE)
    if not moved:
        raise InputError(
            f"Object {number} has no mask from frame {frame} on: split it where it still is."
        )
    return done


def end(state: State, number: int, frame: int) -> Done:
    """Let an object have no masks after a frame."""
    state.require_object(number)
    state.require_frame(frame)
    return take_off(state, [each for each in state.head.frames if each > frame], [number])


def start(state: State, number: int, frame: int) -> Done:
    """Let an object have no masks before a frame."""
    state.require_object(number)
    state.require_frame(frame)
    return take_off(state, [each for each in state.head.frames if each < frame], [number])


def require_label(state: State, label: str) -> None:
    """Raise InputError unless objects may have this label."""
    known = state.labels
    if label not in known:
        raise InputError(
            f'There is no label "{one_line(label, 60)}" in this job: use one of '
            f"{one_line(', '.join(known), 200)}."
        )


def named(name: str) -> str:
    """A name as it is kept. Raises InputError for one that is too long."""
    name = one_line(name, MOST_NAME + 1)
    if len(name) > MOST_NAME:
        raise InputError(f"A name has at most {MOST_NAME} characters: give a shorter one.")
    return name


def _with(state: State, changed: dict[str, Any]) -> Change:
    change = Change(state)
    change.objects = [
        changed if each["number"] == changed["number"] else each for each in state.row.objects
    ]
    return change


def _together(masks: Sequence[Mask]) -> Mask:
    if len(masks) == 1:
        return masks[0]
    left, top = min(mask.left for mask in masks), min(mask.top for mask in masks)
    right = max(mask.left + mask.width for mask in masks)
    bottom = max(mask.top + mask.height for mask in masks)
    pixels = np.zeros((bottom - top, right - left), dtype=np.bool_)
    for mask in masks:
        paint(replace(mask, left=mask.left - left, top=mask.top - top), pixels, True)
    found = encode(pixels, left, top)
    assert found is not None
    return found
