"""Which masks of a result a run made, and which are a human's.

A mask that a run made has the source "auto", and so may one of a human: CVAT's own models write it,
and masks that were pushed as shapes keep it. A result's note lists these: for each such mask of a
key frame how far its track's id lies behind the least one (`cvat_io.lineage`).
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass

from cvat_io.lineage import Lineage
from cvat_io.model import MaskShape
from cvat_io.note import unpack_note
from cvat_io.reader import Export
from errors import InputError
from jobs.frames_text import format_frames, parse_ranges
from jobs.sheet import AUTO

KEY = "drawn"  # of the note
_MOST = 10**9  # a list of numbers holds none that are larger


@dataclass(frozen=True, slots=True)
class Origins:
    """Who made the masks of one archive. `drawn`: as its note lists them, ascending."""

    lineage: Lineage
    drawn: Sequence[range] = ()

    @staticmethod
    def of(result: Export) -> Origins:
        """What an archive says of itself. One that is no result of ours, or an older one, lists
        nothing.
        """
        listed = (unpack_note(result.comment) or {}).get(KEY)
        drawn: list[range] = []
        if isinstance(listed, str):
            with suppress(InputError):  # none that we wrote
                drawn = sorted(parse_ranges(listed, range(_MOST)), key=lambda each: each.start)
        return Origins(Lineage.of(result), drawn)

    def made(self, shape: MaskShape) -> bool:
        """Whether a run made a mask of this archive."""
        number = self.lineage.object_of(shape)
        return shape.source == AUTO and not (number and self._lists(shape.frame, number))

    def kept(self, frame: int, number: int) -> bool:
        """Whether a key frame's mask of an object is a human's, though its source is "auto".

        In an archive that knows no objects all of them are.
        """
        return not self.lineage.objects or self._lists(frame, number)

    def _lists(self, frame: int, number: int) -> bool:
        place = self.lineage.behind_first(number, frame)
        at = bisect_right(self.drawn, place, key=lambda each: each.start)
        return at > 0 and place in self.drawn[at - 1]


def drawn_note(lineage: Lineage, masks: Iterable[tuple[int, int]]) -> dict[str, str]:
    """What `Origins.of` needs, for a result's note; nothing where there is no such mask.

    `masks`: frame and object (in `lineage`) of each mask of a human with the source "auto".
    """
    places = sorted(lineage.behind_first(number, frame) for frame, number in masks)
    listed = format_frames(place for place in places if place < _MOST)
    return {KEY: listed} if listed else {}
