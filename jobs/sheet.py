"""What each frame of an export shows, in a few bytes per frame: to find what a person changed.

Two frames with equal records show the same tracked masks: same pixels, labels and attributes that
a person set, in whatever order, box or run lengths the files write them. Read in one streaming
pass; memory grows with the number of frames and masks, not with their pixels.
"""

from __future__ import annotations

from array import array
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from hashlib import blake2b

import numpy as np

from cvat_io.defaults import Defaults
from cvat_io.lineage import Lineage
from cvat_io.masks import tight
from cvat_io.model import MaskShape
from cvat_io.reader import Export

NAMES = frozenset({"object_id", "track_id", "instance_id"})
"""Attributes, in small letters, in which a human names an object."""

AUTO = "auto"  # `source` of a mask that we made; CVAT turns it into "manual" when it imports it


@dataclass(frozen=True, slots=True)
class FrameRecord:
    """One frame that has at least one tracked mask.

    `digest` covers the multiset of its masks, `placed` that of their occluded flags and z-orders
    too. `human`: at least one mask's source is not "auto". `known`: of each mask it is known which
    of our objects it shows.
    """

    digest: bytes
    placed: bytes
    human: bool
    known: bool


@dataclass(frozen=True, slots=True)
class Seen:
    """An object of ours: its label, and the frames, ascending, that have a mask of it."""

    label: str
    frames: Sequence[int]


@dataclass(frozen=True, slots=True)
class Sheet:
    """All frames that have tracked masks, and the labels that these use.

    `names`: label and name that a human gave -> the object that bears it, where it is one.
    `objects`: where it is known of a mask which object it shows. `unfollowed`: by label the frames,
    ascending, with masks of a human that show none of our objects, where those are known.
    """

    frames: Mapping[int, FrameRecord]
    labels: frozenset[str]
    any_auto: bool
    names: Mapping[tuple[str, str], int]
    objects: Mapping[int, Seen]
    unfollowed: Mapping[str, Sequence[int]]

    @property
    def human_frames(self) -> tuple[int, ...]:
        """Frames, ascending, on which not all tracked masks are ours."""
        return tuple(sorted(frame for frame, record in self.frames.items() if record.human))


def read_sheet(export: Export, ignore_labels: Collection[str], defaults: Defaults) -> Sheet:
    """Read the tracked masks of `export`; labels in `ignore_labels` are passed over.

    Only sheets that were read with the same `defaults` can be compared.
    """
    lineage = Lineage.of(export)
    digests: dict[int, list[bytes]] = {}
    placed: dict[int, list[bytes]] = {}
    human: set[int] = set()
    unknown: set[int] = set()
    labels: set[str] = set()
    bearers: dict[tuple[str, str], set[int]] = {}
    objects: dict[int, tuple[str, array[int]]] = {}
    unfollowed: dict[str, array[int]] = {}
    any_auto = False
    for shape in export.tracks():
        if not isinstance(shape, MaskShape) or shape.label in ignore_labels:
            continue
        digest = mask_digest(shape, defaults)
        digests.setdefault(shape.frame, []).append(digest)
        place = b"%d %d" % (shape.occluded, shape.z_order)
        placed.setdefault(shape.frame, []).append(digest + place)
        labels.add(shape.label)
        number = lineage.object_of(shape)
        if not number:
            unknown.add(shape.frame)
            if lineage.objects and shape.source != AUTO:
                unfollowed.setdefault(shape.label, array("q")).append(shape.frame)
        else:
            objects.setdefault(number, (shape.label, array("q")))[1].append(shape.frame)
        if number and (name := name_of(defaults.set_of(shape))):
            bearers.setdefault((shape.label, name), set()).add(number)
        if shape.source == AUTO:
            any_auto = True
        else:
            human.add(shape.frame)
    return Sheet(
        frames={
            frame: FrameRecord(
                digest=_join(parts),
                placed=_join(placed[frame]),
                human=frame in human,
                known=frame not in unknown,
            )
            for frame, parts in digests.items()
        },
        labels=frozenset(labels),
        any_auto=any_auto,
        names={key: min(numbers) for key, numbers in bearers.items() if len(numbers) == 1},
        objects={
            number: Seen(label, array("q", sorted(frames)))
            for number, (label, frames) in objects.items()
        },
        unfollowed={label: array("q", sorted(frames)) for label, frames in unfollowed.items()},
    )


def masks_on(
    export: Export, frames: Collection[int], ignore_labels: Collection[str]
) -> dict[int, list[tuple[MaskShape, int]]]:
    """The tracked masks of some frames in file order, each with its object (0: not known).

    Every frame that is asked for has an entry.
    """
    lineage = Lineage.of(export)
    found: dict[int, list[tuple[MaskShape, int]]] = {frame: [] for frame in frames}
    for shape in export.tracks():
        if (
            isinstance(shape, MaskShape)
            and shape.frame in found
            and shape.label not in ignore_labels
        ):
            found[shape.frame].append((shape, lineage.object_of(shape)))
    return found


def changed_frames(now: Sheet, before: Sheet) -> tuple[int, ...]:
    """Frames, ascending, whose tracked masks differ between two sheets of one job."""
    return tuple(
        sorted(
            frame
            for frame in now.frames.keys() | before.frames.keys()
            if _digest_at(now, frame) != _digest_at(before, frame)
        )
    )


def placed_frames(now: Sheet, before: Sheet) -> tuple[int, ...]:
    """Frames, ascending, that differ in occluded flags or z-orders alone."""
    return tuple(
        sorted(
            frame
            for frame, record in now.frames.items()
            if _digest_at(before, frame) == record.digest
            and before.frames[frame].placed != record.placed
        )
    )


def name_of(said: Iterable[tuple[str, str]]) -> str:
    """The name that a human gave the object by an attribute, or an empty text.

    `said`: the mask's attributes that a person set (`Defaults.set_of`). A label's default is no
    name, since every mask has it on which nobody typed one.
    """
    for name, value in said:
        if name.lower() in NAMES and value.strip():
            return value.strip()
    return ""


def _digest_at(sheet: Sheet, frame: int) -> bytes:
    record = sheet.frames.get(frame)
    return record.digest if record else b""


def mask_digest(shape: MaskShape, defaults: Defaults) -> bytes:
    """16 bytes that stand for the mask's label, attributes that a person set, and pixels."""
    state = blake2b(digest_size=16)
    said = sorted(defaults.set_of(shape))
    names = [shape.label, *(text for pair in said for text in pair)]
    for name in names:
        raw = name.encode()
        state.update(len(raw).to_bytes(4, "little") + raw)
    mask = tight(shape.mask)
    if mask is not None:
        state.update(np.array([mask.left, mask.top, mask.width, mask.height], "<i4").tobytes())
        state.update(mask.runs.astype("<i4", copy=False).tobytes())
    return state.digest()


def _join(parts: list[bytes]) -> bytes:
    return blake2b(b"".join(sorted(parts)), digest_size=16).digest()
