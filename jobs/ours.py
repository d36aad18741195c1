"""Which masks of a result a run made, and which are a human's, also once CVAT gave them back.

A mask that a run made has the source "auto", and so may one of a human: CVAT's own models write it,
and masks that were pushed as shapes keep it. A result's note lists these: for each such mask of a
key frame how far its track's id lies behind the least one (`cvat_io.lineage`).

Where key frames are partial, runs add to them what a human did not draw there. CVAT gives that back
as a human's, but it is ours as long as it equals what we made, and is no key frame's mask to start
from: what strayed would stay wrong for good.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

from config import Limits
from cvat_io.defaults import Defaults
from cvat_io.lineage import Lineage
from cvat_io.model import MaskShape
from cvat_io.note import unpack_note
from cvat_io.reader import Export, open_export
from errors import InputError
from jobs.frames_text import format_frames, parse_ranges
from jobs.options import Direction
from jobs.resegment import Changes
from jobs.sheet import AUTO, mask_digest

KEY = "drawn"  # of the note
_MOST = 10**9  # a list of numbers holds none that are larger

Places = Mapping[int, tuple[int, ...]]
"""By key frame, which of its tracked masks: k of the k-th in file order."""


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


@dataclass(frozen=True, slots=True)
class Ours:
    """Masks on key frames that are ours. `found`: by key frame and place, the object of each.

    `drawn`: by object, the first key frame on which a human draws it, or drew it before.
    """

    found: Mapping[int, Mapping[int, int]] = field(default_factory=dict)
    drawn: Mapping[int, int] = field(default_factory=dict)

    def anew(self, direction: Direction) -> Places:
        """Those that passes in these directions make anew, where any are made.

        What no human's mask leads to stays, and passes start from it.
        """
        both = direction is Direction.BOTH
        return _filled(
            (frame, [k for k, n in found.items() if both or self.drawn.get(n, frame) < frame])
            for frame, found in self.found.items()
        )

    def without(self, places: Places) -> Places:
        """All others than those of `places`."""
        return _filled(
            (frame, [k for k in found if k not in places.get(frame, ())])
            for frame, found in self.found.items()
        )


def find_ours(
    archives: tuple[Path, Path],
    changes: Changes,
    typed: Collection[int],
    *,
    ignore_labels: Collection[str],
    limits: Limits,
) -> Ours:
    """Which masks of the key frames of `changes` are ours, where key frames are partial.

    `archives`: the export and the previous result. All masks on frames that were `typed` are a
    human's, as is every mask of an export that was made without importing our result. Costs one
    more look at both archives; memory grows with the key frames' masks, not with their pixels.
    """
    keys = frozenset(changes.key_frames)
    now: dict[int, list[bytes]] = {}
    before: dict[int, list[tuple[bytes, int, bool]]] = {}
    with open_export(archives[0], limits) as export:
        defaults = Defaults(export.meta.labels)
        for shape in _tracked(export, keys, ignore_labels):
            now.setdefault(shape.frame, []).append(mask_digest(shape, defaults))
    with open_export(archives[1], limits) as result:
        origins = Origins.of(result)
        for shape in _tracked(result, keys, ignore_labels):
            number = origins.lineage.object_of(shape)
            entry = (mask_digest(shape, defaults), number, origins.made(shape))
            before.setdefault(shape.frame, []).append(entry)
    # What we made, we made from masks of a human. In an older result, which does not list what a
    # model of CVAT's own drew, an object that has none is such a one.
    known = {n for masks in before.values() for _, n, made in masks if n and not made}
    found: dict[int, dict[int, int]] = {}
    drawn: dict[int, int] = {}
    for frame in sorted(keys):
        were = before.get(frame, [])
        if frame in changes.borrowed:
            here = dict(enumerate((number, made) for _, number, made in were))
        else:
            here = _same(now.get(frame, []), were) if changes.imported else {}
        ours = {k: n for k, (n, made) in here.items() if made and n in known}
        if frame in typed:
            ours = {}
        compared = changes.compared.get(frame)
        objects = {k: number for k, (number, _) in here.items()}
        if compared is not None:
            objects = dict(enumerate(compared.objects))
        shown = {number for k, number in objects.items() if k not in ours}
        for number in shown | {number for _, number, made in were if not made}:
            drawn.setdefault(number, frame)
        if ours:
            found[frame] = ours
    return Ours(found, drawn)


def _same(
    now: Iterable[bytes], before: Iterable[tuple[bytes, int, bool]]
) -> dict[int, tuple[int, bool]]:
    """By place the object of each mask that is as it was, and whether we made it."""
    waiting: dict[bytes, list[tuple[int, bool]]] = {}
    for digest, number, made in before:
        waiting.setdefault(digest, []).append((number, made))
    return {k: same.pop(0) for k, digest in enumerate(now) if (same := waiting.get(digest))}


def _tracked(
    export: Export, frames: Collection[int], ignore_labels: Collection[str]
) -> Iterator[MaskShape]:
    for shape in export.tracks():
        if (
            isinstance(shape, MaskShape)
            and shape.frame in frames
            and shape.label not in ignore_labels
        ):
            yield shape


def _filled(places: Iterable[tuple[int, list[int]]]) -> dict[int, tuple[int, ...]]:
    return {frame: tuple(each) for frame, each in places if each}
