"""Human masks as seeds: read from an archive, painted as label maps, numbered along a pass."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from config import Limits
from cvat_io.defaults import Defaults
from cvat_io.masks import paint
from cvat_io.model import MaskShape
from cvat_io.reader import open_export
from errors import InputError
from jobs.ours import Places
from jobs.plan import RunInputs, RunPlan
from jobs.sheet import name_of
from tracker.identity import iou_table, match
from tracker.protocol import LabelMap

Seeds = Mapping[int, Sequence[MaskShape]]
"""Tracked masks by key frame, in file order: entry k of frame f is the seed `f:k`.

They have no other attributes than those that a person set.
"""

MOST_OBJECTS = 65535  # what a label map can tell apart


def read_seeds(
    path: Path,
    limits: Limits,
    frames: Collection[int],
    ignore_labels: Collection[str],
    anew: Places,
) -> Seeds:
    """The tracked masks of `path` on `frames`; a frame without any has an empty entry.

    `anew`: masks that are left out (`jobs.plan.RunPlan`).
    """
    found: dict[int, list[MaskShape]] = {frame: [] for frame in frames}
    places: Counter[int] = Counter()
    with open_export(path, limits) as export:
        defaults = Defaults(export.meta.labels)
        for shape in export.tracks():
            if (
                isinstance(shape, MaskShape)
                and shape.frame in found
                and shape.label not in ignore_labels
            ):
                k, places[shape.frame] = places[shape.frame], places[shape.frame] + 1
                if k in anew.get(shape.frame, ()):
                    continue
                said = defaults.set_of(shape)
                found[shape.frame].append(replace(shape, attributes=said))
    return found


class RecentSeeds:
    """The key frames' masks of the run that this process worked on last.

    So a large export is read once a run, and not once a span.
    """

    def __init__(self, most_bytes: int = 2**28) -> None:
        """`most_bytes`: run lengths beyond are read again for each span, and not kept."""
        self._most_bytes = most_bytes
        self._lock = threading.Lock()
        self._key: object = None
        self._seeds: Seeds | None = None

    def of(self, inputs: RunInputs, plan: RunPlan) -> Seeds:
        """The seeds of all key frames; what was read last counts while the file is the same."""
        state = inputs.annotations.stat()
        stamp = (inputs.annotations, state.st_size, state.st_mtime_ns)
        anew = tuple(sorted(plan.anew.items()))
        key = (*stamp, plan.key_frames, anew, inputs.ignore_labels)
        with self._lock:
            if self._seeds is not None and key == self._key:
                return self._seeds
            self._seeds = None  # let go of the old ones first
            seeds = read_seeds(
                inputs.annotations,
                inputs.limits,
                plan.key_frames,
                inputs.ignore_labels,
                plan.anew,
            )
            held = sum(shape.mask.runs.nbytes for shapes in seeds.values() for shape in shapes)
            if held <= self._most_bytes:
                self._key, self._seeds = key, seeds
            return seeds


def paint_seeds(
    shapes: Sequence[MaskShape], numbers: Sequence[int], height: int, width: int
) -> LabelMap:
    """Label map (H, W) of a key frame. Where masks overlap, the one on top (z_order) is seen.

    Raises InputError when a mask reaches out of the image.
    """
    labels = np.zeros((height, width), dtype=np.uint16)
    for shape, number in sorted(zip(shapes, numbers, strict=True), key=lambda p: p[0].z_order):
        mask = shape.mask
        if mask.left + mask.width > width or mask.top + mask.height > height:
            raise InputError(
                f'The mask of "{shape.label}" on frame {shape.frame} (track {shape.track}) reaches '
                f"out of its image of {width}x{height} pixels: these images belong to another job, "
                "or the mask must be drawn again."
            )
        paint(mask, labels, number)
    return labels


def paint_alone(frame: int, shapes: Sequence[MaskShape], height: int, width: int) -> LabelMap:
    """Label map (H, W) of a key frame by itself: its masks are objects 1..n in their order.

    Raises InputError when a mask reaches out of the image, or when there are too many.
    """
    _require_few(len(shapes), frame)
    return paint_seeds(shapes, range(1, len(shapes) + 1), height, width)


class Numbering:
    """Object numbers of a span's seeds, given as the forward pass meets the anchors.

    The first anchor's seeds are 1..n. At each further anchor a seed takes the number of the
    predicted object that it continues, or else the next free one.
    """

    def __init__(self, seeds: Seeds, height: int, width: int) -> None:
        """`seeds`: at least those of all anchors; `height`, `width`: of the images."""
        self._seeds = seeds
        self._size = (height, width)
        self._kinds: dict[int, str] = {}
        self._names: dict[int, str] = {}
        self.numbers: dict[int, tuple[int, ...]] = {}
        # How well the pass came to each anchor: IoU with the human's mask, by object number.
        self.met: dict[int, dict[int, float]] = {}

    @property
    def count(self) -> int:
        """The largest number given so far."""
        return len(self._kinds)

    def meet(self, anchor: int, predicted: LabelMap | None = None) -> None:
        """Number the seeds of `anchor`, given what the pass predicts there."""
        shapes = self._seeds[anchor]
        found: Mapping[int, int] = {}
        met: dict[int, float] = {}
        if predicted is not None and shapes:
            local = range(1, len(shapes) + 1)
            drawn = paint_seeds(shapes, local, *self._size)
            found = match(
                predicted,
                drawn,
                predicted_kinds=self._kinds,
                drawn_kinds={k: shape.label for k, shape in zip(local, shapes, strict=True)},
                predicted_names=self._names,
                drawn_names={
                    k: name_of(shape.attributes) for k, shape in zip(local, shapes, strict=True)
                },
            )
            table = iou_table(drawn, found.keys(), predicted, found.values())
            ious = np.round(np.diag(table), 4).tolist()
            met = dict(zip(found.values(), ious, strict=True))
        free = self.count
        numbers = []
        for k in range(1, len(shapes) + 1):
            if k not in found:
                free += 1
            numbers.append(found.get(k, free))
        _require_few(free, anchor)
        self.restore(anchor, numbers, met)

    def restore(self, anchor: int, numbers: Sequence[int], met: Mapping[int, float]) -> None:
        """Take the numbers that an earlier attempt gave, and how well it came there."""
        self.met[anchor] = dict(met)
        self.numbers[anchor] = tuple(numbers)
        for number, shape in zip(numbers, self._seeds[anchor], strict=True):
            self._kinds.setdefault(number, shape.label)
            if name := name_of(shape.attributes):
                self._names.setdefault(number, name)

    def drawn(self, anchor: int) -> LabelMap:
        """The human's masks of a numbered anchor."""
        return paint_seeds(self._seeds[anchor], self.numbers[anchor], *self._size)


def _require_few(objects: int, frame: int) -> None:
    if objects > MOST_OBJECTS:
        raise InputError(
            f"There are more than {MOST_OBJECTS:,} objects by frame {frame}: track fewer frames at "
            "once."
        )


def additions(labels: LabelMap, numbers: Sequence[int]) -> LabelMap:
    """A label map without the objects of `numbers`: what others have that a key frame lacks."""
    keep = np.ones(MOST_OBJECTS + 1, dtype=np.uint16)
    keep[list(numbers)] = 0
    left: LabelMap = labels * keep[labels]
    return left
