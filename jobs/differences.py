"""How two layers of one job differ: which masks are new, gone or not as they were.

Masks are paired frame by frame: equal ones, then those of one object, then (where one layer knows
no objects) those of one label that overlap most.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from hashlib import blake2b
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from cvat_io.masks import iou, same_pixels
from jobs.frames_text import format_frames
from jobs.layer_build import mask_of
from jobs.layer_file import LayerFile, pixels_digest
from jobs.layer_views import (
    MOST_FRAMES,
    DifferencesView,
    LiveLayer,
    MaskEntry,
    ObjectDifference,
)

ADDED, REMOVED, CHANGED = "added", "removed", "changed"
_LEAST_IOU = 0.1  # of masks of one label that may be the same thing
_MOST_MEASURED = 50  # pairs of one object whose IoU is measured


@dataclass(frozen=True, slots=True)
class Sketch:
    """A mask without its runs: equal digests of one label are equal masks."""

    object: int
    label: str
    digest: int


class Side(Protocol):
    """One of the two layers. `frames`: those of its job."""

    @property
    def frames(self) -> range:
        """Frames that have a place in it."""
        ...

    def sums(self) -> NDArray[np.uint64]:
        """(N,): for each frame a number that differs where its masks do."""
        ...

    def sketches(self, frame: int) -> list[Sketch]:
        """The masks of a frame."""
        ...

    def mask(self, frame: int, index: int) -> MaskEntry:
        """One of these masks, whole."""
        ...


class FileSide:
    """A layer that has a file."""

    def __init__(self, file: LayerFile) -> None:
        self._file = file
        self.frames = file.frames_all

    def sums(self) -> NDArray[np.uint64]:
        """(N,): for each frame a number that differs where its masks do."""
        table = self._file.table
        salts = np.array([_salt(label) for label in self._file.labels], dtype=np.uint64)
        found = np.zeros(len(self.frames), dtype=np.uint64)
        if len(table):
            np.add.at(found, table["index"], _mixed(table["digest"], salts[table["label"]]))
        return found

    def sketches(self, frame: int) -> list[Sketch]:
        """The masks of a frame."""
        rows = self._file.on(frame)
        return [
            Sketch(number, self._file.labels[label], digest)
            for number, label, digest in zip(
                rows["object"].tolist(),
                rows["label"].tolist(),
                rows["digest"].tolist(),
                strict=True,
            )
        ]

    def mask(self, frame: int, index: int) -> MaskEntry:
        """One of these masks, whole."""
        return self._file.masks(self._file.on(frame)[index : index + 1])[0]


class LiveSide:
    """Frame-by-frame work as it stands."""

    def __init__(self, live: LiveLayer, frames: range) -> None:
        self._live = live
        self.frames = frames
        self._known: dict[int, list[Sketch]] = {}
        for at in range(0, len(frames), MOST_FRAMES):
            for entry in live.entries(frames[at : at + MOST_FRAMES]):
                if entry.masks:
                    self._known[entry.frame] = [
                        Sketch(each.object, each.label, pixels_digest(each)) for each in entry.masks
                    ]

    def sums(self) -> NDArray[np.uint64]:
        """(N,): for each frame a number that differs where its masks do."""
        found = np.zeros(len(self.frames), dtype=np.uint64)
        for frame, masks in self._known.items():
            digests = np.array([each.digest for each in masks], dtype=np.uint64)
            salts = np.array([_salt(each.label) for each in masks], dtype=np.uint64)
            found[self.frames.index(frame)] = _mixed(digests, salts).sum(dtype=np.uint64)
        return found

    def sketches(self, frame: int) -> list[Sketch]:
        """The masks of a frame."""
        return self._known.get(frame, [])

    def mask(self, frame: int, index: int) -> MaskEntry:
        """One of these masks, whole."""
        return self._live.entries([frame])[0].masks[index]


@dataclass(slots=True)
class _Found:
    """What differs of one object in one way: on which frames, and which masks (a's, b's) there."""

    frames: list[int] = field(default_factory=list)
    pairs: list[tuple[int, int, int]] = field(default_factory=list)


def differences(a: Side, b: Side) -> DifferencesView:
    """How `b` differs from `a`. Frames that only one of them has count where it has masks."""
    found: dict[tuple[int, str, str], _Found] = {}
    for frame in _suspects(a, b):
        for (number, label, kind), i, j in _compare(frame, a, b):
            place = found.setdefault((number, label, kind), _Found())
            place.frames.append(frame)
            if kind == CHANGED:
                place.pairs.append((frame, i, j))
    objects: list[ObjectDifference] = []
    frames: set[int] = set()
    for (number, label, kind), place in sorted(found.items()):
        mean = None
        if kind == CHANGED:
            mean = _measure(place, a, b)
        if place.frames:
            frames.update(place.frames)
            told = format_frames(sorted(set(place.frames)), a.frames.step)
            objects.append(
                ObjectDifference(object=number, label=label, kind=kind, frames=told, iou=mean)
            )
    everything = set(a.frames) | set(b.frames)
    return DifferencesView(
        frames=format_frames(sorted(frames), a.frames.step),
        objects=tuple(objects),
        same=len(everything) - len(frames),
    )


def _suspects(a: Side, b: Side) -> Iterator[int]:
    """Frames, ascending, whose masks are not equal."""
    one = dict(zip(a.frames, a.sums().tolist(), strict=True))
    two = dict(zip(b.frames, b.sums().tolist(), strict=True))
    for frame in sorted(one.keys() | two.keys()):
        if one.get(frame, 0) != two.get(frame, 0):
            yield frame


def _compare(frame: int, a: Side, b: Side) -> Iterator[tuple[tuple[int, str, str], int, int]]:
    """What differs on one frame: (object, label, kind), and which mask of a and of b (-1: none)."""
    before = a.sketches(frame) if frame in a.frames else []
    after = b.sketches(frame) if frame in b.frames else []
    common = Counter((s.label, s.digest) for s in before)
    common &= Counter((s.label, s.digest) for s in after)
    open_a = _without(before, common.copy())
    open_b = _without(after, common)
    by_object = {before[i].object: i for i in open_a if before[i].object}
    for j in list(open_b):
        i = by_object.pop(after[j].object, -1)
        if i >= 0:
            open_a.remove(i)
            open_b.remove(j)
            yield (after[j].object, after[j].label, CHANGED), i, j
    for i, j in _overlapping(frame, a, b, open_a, open_b) if open_a and open_b else ():
        open_a.remove(i)
        open_b.remove(j)
        yield (after[j].object or before[i].object, after[j].label, CHANGED), i, j
    for i in open_a:
        yield (before[i].object, before[i].label, REMOVED), i, -1
    for j in open_b:
        yield (after[j].object, after[j].label, ADDED), -1, j


def _without(masks: Sequence[Sketch], common: Counter[tuple[str, int]]) -> list[int]:
    """Indices of masks that are not among the common ones."""
    left = []
    for index, mask in enumerate(masks):
        if common[mask.label, mask.digest] > 0:
            common[mask.label, mask.digest] -= 1
        else:
            left.append(index)
    return left


def _overlapping(
    frame: int, a: Side, b: Side, open_a: Sequence[int], open_b: Sequence[int]
) -> list[tuple[int, int]]:
    """Pairs of masks of one label of which one's object is not known, the closest first."""
    one = {i: a.mask(frame, i) for i in open_a}
    two = {j: b.mask(frame, j) for j in open_b}
    table = []
    for i in open_a:
        for j in open_b:
            if one[i].label != two[j].label or (one[i].object and two[j].object):
                continue
            value = iou(mask_of(one[i]), mask_of(two[j]))
            if value >= _LEAST_IOU:
                table.append((-value, i, j))
    pairs: list[tuple[int, int]] = []
    for _, i, j in sorted(table):
        if i not in {p[0] for p in pairs} and j not in {p[1] for p in pairs}:
            pairs.append((i, j))
    return pairs


def _measure(place: _Found, a: Side, b: Side) -> float | None:
    """The mean IoU of an object's changed masks.

    Files write the same pixels in more than one way: pairs that turn out to be equal are taken
    away. Where none of those that were measured is, no other one is looked at.
    """
    many = len(place.pairs)
    chosen = sorted({many * k // _MOST_MEASURED for k in range(_MOST_MEASURED)} if many else ())
    values = {at: _iou(place.pairs[at], a, b) for at in chosen}
    if 1.0 in values.values():
        equal = {
            at
            for at in range(many)
            if values.get(at, 1.0) == 1.0 and _is_same(place.pairs[at], a, b)
        }
        place.frames = [frame for at, frame in enumerate(place.frames) if at not in equal]
        values = {at: value for at, value in values.items() if at not in equal}
    return round(sum(values.values()) / len(values), 4) if values else None


def _iou(pair: tuple[int, int, int], a: Side, b: Side) -> float:
    frame, i, j = pair
    return iou(mask_of(a.mask(frame, i)), mask_of(b.mask(frame, j)))


def _is_same(pair: tuple[int, int, int], a: Side, b: Side) -> bool:
    frame, i, j = pair
    one, two = a.mask(frame, i), b.mask(frame, j)
    return one.label == two.label and same_pixels(mask_of(one), mask_of(two))


def _salt(label: str) -> int:
    """64 bits that stand for a label."""
    return int.from_bytes(blake2b(label.encode(), digest_size=8).digest(), "little")


def _mixed(digests: NDArray[np.uint64], salts: NDArray[np.uint64]) -> NDArray[np.uint64]:
    """One number for each mask; those of a frame are summed, so that their order is nothing."""
    mixed = (digests ^ salts) * np.uint64(0x9E3779B97F4A7C15)
    return np.asarray(mixed ^ (mixed >> np.uint64(29)) | np.uint64(1))
