"""Which object each mask of a result shows: written into the ids of its tracks.

CVAT's format has a track for each mask and no place for what several masks have in common, and
CVAT itself never reads the ids. So in a result of ours a mask of object `n` (1, 2, ...) on the
job's frame number `i` has the id `first + n * frames + i`; ids from `first + (objects + 1) *
frames` on are of masks that belong to no object that is followed. The note in the zip's comment
holds `first` and `objects`.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from typing import Any

from cvat_io.model import MaskShape, OtherTrack
from cvat_io.note import unpack_note
from cvat_io.reader import Export
from cvat_io.result import track_number
from cvat_io.shapes import RawMask

KEY = "objects"  # of the note
_MOST = 2**62  # ids from here on are none of ours
_MOST_OBJECTS = 2**30  # so that a session's columns hold them, and many more


@dataclass(frozen=True, slots=True)
class Lineage:
    """How one result numbers its tracks. `first`: its least id; `objects`: the largest object.

    `frames`: the job's frames. Where `objects` is 0 nothing is known of any mask.
    """

    first: int
    objects: int
    frames: range

    @staticmethod
    def of(result: Export) -> Lineage:
        """What a result says of itself.

        An archive of somebody else, and one whose note is not as we write it, knows no objects.
        """
        frames = result.meta.frames
        found = (unpack_note(result.comment) or {}).get(KEY)
        if not isinstance(found, list) or [type(each) for each in found] != [int, int]:
            return Lineage(0, 0, frames)
        first, objects = found
        if not (0 <= first < _MOST and 0 <= objects <= _MOST_OBJECTS):
            return Lineage(0, 0, frames)
        return Lineage(first, objects, frames)

    @staticmethod
    def behind(others: Iterable[OtherTrack], objects: int, frames: range) -> Lineage:
        """Ids behind those of the tracks that a result keeps as they are."""
        first = max((track_number(track) + 1 for track in others), default=0)
        return Lineage(first, objects, frames)

    def note(self) -> dict[str, Any]:
        """What `of` needs, for a result's note."""
        return {KEY: [self.first, self.objects]}

    def object_of(self, shape: MaskShape | RawMask) -> int:
        """The object that a mask of this result shows; 0 where that is not known."""
        if not self.objects or not shape.track.isdecimal():
            return 0
        number, index = divmod(int(shape.track) - self.first, len(self.frames))
        known = 1 <= number <= self.objects and self.frames[index] == shape.frame
        return number if known else 0

    def behind_first(self, number: int, frame: int) -> int:
        """How far the id of an object's mask on a frame lies behind the least one."""
        return number * len(self.frames) + self.frames.index(frame)

    def numbered(self, shapes: Iterable[tuple[MaskShape, int]]) -> Iterator[MaskShape]:
        """Give masks, with their objects (0: none), the ids of their tracks.

        Ascending by frame. A second mask of one object on one frame counts as one of no object.
        """
        spare = self.first + (self.objects + 1) * len(self.frames)
        frame, seen = -1, set[int]()
        for shape, number in shapes:
            if shape.frame != frame:
                frame, seen = shape.frame, set()
            if number in seen or not 1 <= number <= self.objects:
                track, spare = spare, spare + 1
            else:
                seen.add(number)
                track = self.first + self.behind_first(number, frame)
            yield replace(shape, track=str(track))
