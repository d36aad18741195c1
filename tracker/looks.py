"""How an object looks on a key frame, and how far a later mask of it looks otherwise.

Colours: as `tracker.propagators.flow.colours` has them, an object against what lies close round it.
The work for an object is in its own box, and large objects are looked at with fewer pixels, so that
a frame costs some milliseconds whatever its size.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import find_objects

from tracker.propagators.flow.colours import cells, chances
from tracker.protocol import Image, LabelMap

Box = tuple[slice, slice]
Mask = NDArray[np.bool_]

_PIXELS = 60_000  # of a box that are looked at, about
_RING = (4, 40)  # pixels around an object, thinnest and thickest
_RING_PART = 0.15  # of the object's size (root of its area)
_RARE = 1e-4  # chance under which a colour says nothing
_MOST = 3.0  # natural logarithm of the largest odds
_NO_CONTRAST = 0.05  # an object that hardly differs from its surroundings cannot be judged
_FOREIGN = -1.0  # log odds below which a colour is rather that of the surroundings
_COARSE = 3  # bits of a channel in histograms


@dataclass(frozen=True, slots=True, eq=False)
class Look:
    """One object of a key frame.

    `area`: pixels. `odds`: float32 (4096,), log odds of object against surroundings by colour cell.
    `colours`: float32 (512,), its histogram, sum 1. `contrast`: mean
    odds inside less those around. `foreign`: share of its pixels that look like the surroundings.
    `loose`: share of its area outside of its largest piece.
    """

    area: int
    odds: NDArray[np.float32]
    colours: NDArray[np.float32]
    contrast: float
    foreign: float
    loose: float


@dataclass(frozen=True, slots=True)
class Unlikeness:
    """How far a mask is not what its key frame shows, each 0 for not at all.

    `faded`: contrast lost, in [0, 1]. `unlike`: histograms apart, in [0, 1]. `foreign`: share of
    pixels that look like the surroundings, beyond the key frame's. `resized`: natural logarithm of
    the areas' ratio, without sign. `split`: share outside of the largest piece, beyond the key
    frame's.
    """

    faded: float = 0.0
    unlike: float = 0.0
    foreign: float = 0.0
    resized: float = 0.0
    split: float = 0.0


def looks(image: Image, labels: LabelMap, numbers: Collection[int]) -> dict[int, Look]:
    """How the objects `numbers` of a key frame look, those that it shows."""
    return {
        number: _look(image, labels, number, box)
        for number, box in boxes(labels).items()
        if number in numbers
    }


def boxes(labels: LabelMap) -> dict[int, Box]:
    """The box round each object that a label map shows, by its number."""
    rows, columns = (np.flatnonzero((labels > 0).any(axis=axis)) for axis in (1, 0))
    if not rows.size:
        return {}
    top, left = int(rows[0]), int(columns[0])
    part = labels[top : rows[-1] + 1, left : columns[-1] + 1]
    return {
        number: (_moved(box[0], top), _moved(box[1], left))
        for number, box in enumerate(find_objects(part), start=1)
        if box is not None
    }


def unlikeness(image: Image, labels: LabelMap, number: int, box: Box, look: Look) -> Unlikeness:
    """How far the mask of object `number`, which lies in `box`, is not what `look` is of."""
    seen = _Seen(image, labels, number, box)
    faded = 0.0
    if look.contrast > _NO_CONTRAST:
        faded = 1.0 - min(max(seen.contrast(look.odds) / look.contrast, 0.0), 1.0)
    return Unlikeness(
        faded=faded,
        unlike=1.0 - float(np.minimum(seen.histogram(), look.colours).sum()),
        foreign=max(0.0, seen.foreign(look.odds) - look.foreign),
        resized=abs(float(np.log(seen.area / look.area))),
        split=max(0.0, seen.loose - look.loose),
    )


def bent(before: LabelMap, labels: LabelMap, number: int, was: Box, box: Box) -> float:
    """1 - IoU of an object's last mask, laid centre on centre, with this one; boxes as found."""
    one, other = before[was] == number, labels[box] == number
    high, wide = (max(a, b) for a, b in zip(one.shape, other.shape, strict=True))
    planes = []
    for mask in (one, other):
        # Room for any offset of the centres: a plane twice as large, centre in the middle.
        plane = np.zeros((2 * high + 2, 2 * wide + 2), dtype=np.bool_)
        top, left = high - _centre(mask.sum(axis=1)), wide - _centre(mask.sum(axis=0))
        plane[top : top + mask.shape[0], left : left + mask.shape[1]] = mask
        planes.append(plane)
    both = np.count_nonzero(planes[0] & planes[1])
    return 1.0 - both / np.count_nonzero(planes[0] | planes[1])


class _Seen:
    """An object in its frame: colour cells of its pixels and of those close round it."""

    def __init__(self, image: Image, labels: LabelMap, number: int, box: Box) -> None:
        rows, columns = box
        mask = labels[box] == number
        self.area = int(np.count_nonzero(mask))
        self.loose = _loose(mask, self.area)
        height, width = labels.shape
        ring = round(float(np.clip(_RING_PART * self.area**0.5, *_RING)))
        top, left = max(0, rows.start - ring), max(0, columns.start - ring)
        bottom, right = min(height, rows.stop + ring), min(width, columns.stop + ring)
        thin = max(1, round(((bottom - top) * (right - left) / _PIXELS) ** 0.5))
        window = np.s_[top:bottom:thin, left:right:thin]
        inside = labels[window] == number
        reach = max(1, ring // thin)
        square = np.ones((2 * reach + 1,) * 2, dtype=np.uint8)
        around = (cv2.dilate(inside.astype(np.uint8), square) > 0) & ~inside
        self._pixels = image[window][inside]
        colour = cells(image[window])
        self.inside, self.around = colour[inside], colour[around]

    def contrast(self, odds: NDArray[np.float32]) -> float:
        inside = float(odds[self.inside].mean()) if self.inside.size else 0.0
        return inside - (float(odds[self.around].mean()) if self.around.size else 0.0)

    def foreign(self, odds: NDArray[np.float32]) -> float:
        return float((odds[self.inside] < _FOREIGN).mean()) if self.inside.size else 0.0

    def histogram(self) -> NDArray[np.float32]:
        part = (self._pixels >> (8 - _COARSE)).astype(np.int64)
        flat = (part[:, 0] << 2 * _COARSE) | (part[:, 1] << _COARSE) | part[:, 2]
        counts = np.bincount(flat, minlength=1 << 3 * _COARSE)
        return (counts / max(1, len(flat))).astype(np.float32)


def _look(image: Image, labels: LabelMap, number: int, box: Box) -> Look:
    seen = _Seen(image, labels, number, box)
    ratio = (chances(seen.inside) + _RARE) / (chances(seen.around) + _RARE)
    odds = np.clip(np.log(ratio), -_MOST, _MOST).astype(np.float32)
    return Look(
        area=seen.area,
        odds=odds,
        colours=seen.histogram(),
        contrast=seen.contrast(odds),
        foreign=seen.foreign(odds),
        loose=seen.loose,
    )


def _centre(counts: NDArray[np.int64]) -> int:
    return round(float(counts @ np.arange(len(counts))) / float(counts.sum()))


def _moved(side: slice, by: int) -> slice:
    return slice(side.start + by, side.stop + by)


def _loose(mask: Mask, area: int) -> float:
    """The share of a mask's area that is not in its largest piece."""
    _, _, pieces, _ = cv2.connectedComponentsWithStats(mask.astype(np.uint8))
    return 1.0 - float(pieces[1:, cv2.CC_STAT_AREA].max()) / area
