"""Exactly the least work: where masks are made anew, and whose masks stay to the byte.

A gap between two key frames is touched where a mask differs on one of its sides (where only forward
passes are made: on the first one). In it an object
keeps its masks when both sides show that it is as it was: it is on one of them, on none of them its
mask differs, and nothing new there may be it. Where it is not known what differs (frames that a
person names, key frames that were given up, a previous result without a lineage) none stays.
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
    shown = [_shown(side, changes) for side in gap.anchors]
    kept = {number for objects in shown for number in objects}
    needed = False
    for side, here in zip(gap.anchors, shown, strict=True):
        compared = changes.compared.get(side)
        if compared is None or side not in gap.begins:
            continue
        kept -= compared.touched
        needed = needed or bool(compared.new_labels)
        # What is new here may be an object of the other side that was lost on the way.
        for objects in shown:
            kept -= {
                number for number, label in objects.items()
                if label in compared.new_labels and number not in here
            }  # fmt: skip
    needed = needed or any(objects.keys() - kept for objects in shown)
    return Renewal(first, last, frozenset(kept)), needed


def within(renewals: Sequence[Renewal], frame: int) -> Renewal | None:
    """The renewal of a frame; `renewals` are ascending and never overlap."""
    at = bisect_right(renewals, frame, key=lambda each: each.start) - 1
    return renewals[at] if at >= 0 and frame <= renewals[at].stop else None


def _shown(side: int, changes: Changes) -> Mapping[int, str]:
    """The objects that a key frame shows now, and their labels; those that are new left out."""
    compared = changes.compared.get(side)
    return changes.sides.get(side, {}) if compared is None else compared.shown
