"""What a person changes in a session: masks, key frames, ranges of frames.

Every function makes a `Change` of the state that it is given and raises InputError for what cannot
be done; who calls writes it.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum

from cvat_io.masks import without
from cvat_io.model import Mask, MaskShape
from errors import InputError
from jobs.frames_text import describe
from jobs.session_change import Change, Done
from jobs.session_masks import IGNORED, Origin, Shown, pack
from jobs.session_state import FORGOTTEN, FrameState, State


class RangeAction(StrEnum):
    """What is done with objects on a range of frames."""

    DELETE = "delete"  # they are not there, says the person, on key frames too
    ABSENT = "absent"  # the same
    FORGET = "forget"  # what was computed is to be computed again
    ACCEPT = "accept"  # the frames' masks are the person's from now on


@dataclass(frozen=True, slots=True, eq=False)
class NewMask:
    """An object's mask as a person wants it; None: the object is not there.

    `under`: where it lies on others they keep their pixels.
    """

    number: int
    mask: Mask | None
    under: bool = False


def edit(state: State, frame: int, masks: Sequence[NewMask]) -> Done:
    """Set masks of some objects on a frame, which becomes the person's; others stay.

    Where masks overlap the new one takes the pixels, except where it goes under.
    """
    found = state.frame(state.require_frame(frame))
    here = {shown.number: shown for shown in found.masks if shown.number != IGNORED}
    change = Change(state)
    for new in masks:
        state.require_object(new.number)
        if new.mask is None:
            if here.pop(new.number, None) is not None:
                change.put(frame, new.number, Origin.HUMAN)
            continue
        others = {number: shown for number, shown in here.items() if number != new.number}
        mask: Mask | None = new.mask
        if new.under:
            mask = without(new.mask, [shown.mask for shown in others.values()])
            if mask is None:
                raise InputError(
                    f"The mask of object {new.number} has no pixel that is not another object's: "
                    "put it on top, or draw it larger."
                )
        else:
            for number, shown in others.items():
                left = without(shown.mask, [new.mask])
                if left is shown.mask:
                    continue
                if left is None:
                    del here[number]
                    change.put(frame, number, Origin.HUMAN)
                else:
                    here[number] = shown.with_mask(left)
                    change.put(frame, number, Origin.HUMAN, pack(here[number].shape))
        assert mask is not None
        shape = shape_for(state, found, new.number, mask)
        here[new.number] = Shown(new.number, shape)
        change.put(frame, new.number, Origin.HUMAN, pack(shape))
    change.frames[frame] = (True, found.standing, "")
    return Done(change)


def copy(state: State, frame: int, source: int, numbers: Collection[int] | None) -> Done:
    """Take masks of another frame over, of all its objects where `numbers` is None."""
    state.require_frame(frame)
    if state.require_frame(source) == frame:
        raise InputError(f"Frame {frame} cannot be copied onto itself: name another frame.")
    found = state.frame(source)
    wanted = [
        shown
        for shown in found.masks
        if shown.number != IGNORED and (numbers is None or shown.number in numbers)
    ]
    for number in numbers or ():
        state.require_object(number)
    if not wanted:
        raise InputError(
            f"Frame {source} has no mask to copy: go to it and look, or copy from another frame."
        )
    return edit(state, frame, [NewMask(shown.number, shown.mask) for shown in wanted])


def set_key(state: State, frame: int, key: bool) -> Done:
    """Make a frame's masks the person's, or let them be computed again."""
    found = state.frame(state.require_frame(frame))
    change = Change(state)
    if found.key != key:
        change.frames[frame] = (key, found.standing, "")
        if not key:  # what is computed here from now on must not be all that is left of it
            change.kept.update((frame, number) for number in state.objects)
    return Done(change)


def on_range(
    state: State, action: RangeAction, numbers: Collection[int] | None, first: int, last: int
) -> Done:
    """Do something with objects (None: all) on all frames from `first` to `last`."""
    frames = _between(state, first, last)
    chosen = frozenset(state.objects if numbers is None else numbers)
    for number in sorted(chosen - state.objects.keys())[:1]:
        state.require_object(number)
    if action is RangeAction.FORGET:
        return Done(_forget(state, frames, chosen, everything=numbers is None))
    if action is RangeAction.ACCEPT:
        change = Change(state)
        for found in state.outlines(frames):
            if found.known and not found.key:
                change.frames[found.frame] = (True, found.standing, "")
        return Done(change)
    return take_off(state, frames, chosen)


def take_off(state: State, frames: Iterable[int], numbers: Collection[int]) -> Done:
    """Say that objects are not on some frames."""
    change, keys = Change(state), []
    for found in state.outlines(list(frames)):
        for number in numbers:
            if number in found.numbers or number not in found.gone:
                change.put(found.frame, number, Origin.HUMAN)
        if found.key and not found.numbers.isdisjoint(numbers):
            keys.append(found.frame)
    return Done(change, keys)


def _forget(
    state: State, frames: Iterable[int], numbers: Collection[int], *, everything: bool
) -> Change:
    change = Change(state)
    for found in state.outlines(list(frames)):
        if found.key:
            continue
        gone = found.numbers.intersection(numbers)
        for number in sorted(gone):
            change.put(found.frame, number, Origin.NONE)
        if found.known and (everything or gone):  # else nobody would compute them again
            change.frames[found.frame] = (False, FORGOTTEN, "")
    return change


def _between(state: State, first: int, last: int) -> list[int]:
    if first > last:
        raise InputError(
            f"The frames from {first} to {last} run backward: write {last} to {first}."
        )
    frames = [frame for frame in state.head.frames if first <= frame <= last]
    if not frames:
        raise InputError(
            f"There is no frame from {first} to {last}: {describe(state.head.numbers)}."
        )
    return frames


def shape_for(state: State, found: FrameState, number: int, mask: Mask) -> MaskShape:
    """A person's new mask, with all beside it as the object has it on this frame, or anywhere."""
    shown = found.mask_of(number)
    if shown is not None:
        return replace(shown.shape, mask=mask, source="manual")
    known = state.require_object(number)
    return MaskShape(
        frame=found.frame,
        label=known["label"],
        mask=mask,
        z_order=known.get("z", 0),
        group_id=known.get("group", 0),
        attributes=tuple((name, value) for name, value in known.get("attributes", ())),
    )
