"""Exactly the least work: where masks are made anew, and whose masks stay to the byte.

A gap between two key frames is touched where a mask differs on one of its sides. In it an object
keeps its masks when both sides show that it is as it was: it is on one of them, on none of them its
mask differs or lies below one that a person drew there, and nothing new there may be it. Where only
forward passes are made the first side alone counts: whatever it says nothing about, such as what an
earlier backward pass made, stays. Where it is not known what differs (frames that a person names,
key frames that were given up, a previous result without a lineage) none stays.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from jobs.frames_text import format_frames, parse_frames
from jobs.resegment import Changes
from jobs.spans import Gap


@dataclass(frozen=True, slots=True)
class Renewal:
    """Frames `start` to `stop` (inclusive), whose masks are made anew or taken away.

    `kept`: objects, as the previous result numbers them, whose masks stay as they are there.
    """

    start: int
    stop: int
    kept: frozenset[int]

    def to_dict(self) -> dict[str, Any]:
        """For JSON."""
        return {"start": self.start, "stop": self.stop, "kept": format_frames(sorted(self.kept))}

    @staticmethod
    def from_dict(data: Mapping[str, Any]) -> Renewal:
        """What `to_dict` wrote."""
        kept = frozenset(parse_frames(data["kept"], range(10**9)))
        return Renewal(data["start"], data["stop"], kept)


def renew(gap: Gap, changes: Changes) -> tuple[Renewal, bool]:
    """What stays in a gap that a change touches, and whether a pass is needed for all else.

    None is needed where neither side shows an object that does not stay: then masks are only
    taken away.
    """
    first, last = gap.frames[0], gap.frames[-1]
    unknown = changes.unknown
    low = bisect_left(unknown, first)
    if (
        any(first <= frame <= last for frame in changes.changed)  # a key frame was given up
        or changes.whole.intersection(gap.begins)
        or (low < len(unknown) and unknown[low] <= last)
    ):
        return Renewal(first, last, frozenset()), True
    shown = [_shown(side, changes) for side in gap.begins]
    there = {number: label for objects in shown for number, label in objects.items()}
    if gap.begins != gap.anchors:
        there |= _within(gap, changes)
    kept = set(there)
    needed = False
    for side, here in zip(gap.begins, shown, strict=True):
        compared = changes.compared.get(side)
        if compared is None:
            continue
        kept -= compared.touched | compared.below
        needed = needed or bool(compared.new_labels)
        # What is new here may be an object that is not, since it was lost on the way.
        kept -= {
            number for number, label in there.items()
            if label in compared.new_labels and number not in here
        }  # fmt: skip
    needed = needed or any(objects.keys() - kept for objects in shown)
    return Renewal(first, last, frozenset(kept)), needed


def within(renewals: Sequence[Renewal], frame: int) -> Renewal | None:
    """The renewal of a frame; `renewals` are ascending and never overlap."""
    at = bisect_right(renewals, frame, key=lambda each: each.start) - 1
    return renewals[at] if at >= 0 and frame <= renewals[at].stop else None


def _within(gap: Gap, changes: Changes) -> Mapping[int, str]:
    """The objects of the previous result that have masks in a gap, and their labels."""
    first, last = gap.frames[0], gap.frames[-1]
    found = {}
    for number, seen in changes.seen.items():
        at = bisect_left(seen.frames, first)
        if at < len(seen.frames) and seen.frames[at] <= last:
            found[number] = seen.label
    return found


def _shown(side: int, changes: Changes) -> Mapping[int, str]:
    """The objects that a key frame shows now, and their labels; those that are new left out."""
    compared = changes.compared.get(side)
    return changes.sides.get(side, {}) if compared is None else compared.shown
