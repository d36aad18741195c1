"""What the key frame says about colours: of an object, and of what lies close around it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import find_objects, gaussian_filter

from tracker.protocol import Image, LabelMap

BINS = 16  # per channel
_SPREAD = 0.7  # bins by which a colour blurs into its neighbours
_RING = (6, 40)  # pixels, thinnest and thickest
_RING_PART = 0.15  # of the object's size (root of its area)
_RARE = 1e-4  # probability under which a colour says nothing
_MOST = 3.0  # natural logarithm of the largest odds that a colour may give
_NO_CONTRAST = 0.05  # an object that hardly differs from its surroundings cannot be judged


@dataclass(frozen=True, slots=True, eq=False)
class Colours:
    """One object's colours in the key frame.

    `odds`: float32 (BINS**3,), log odds of object against surroundings by colour cell, positive
    where the colour is the object's. `contrast`: their mean inside less their mean around.
    """

    odds: NDArray[np.float32]
    contrast: float


@dataclass(frozen=True, slots=True, eq=False)
class _Place:
    """An object and the ring round it: colour cells of their pixels, other objects included."""

    number: int
    inside: NDArray[np.int32]
    around: NDArray[np.int32]

    def contrast(self, odds: NDArray[np.float32]) -> float:
        around = float(odds[self.around].mean()) if self.around.size else 0.0
        return float(odds[self.inside].mean()) - around


def cells(image: Image) -> NDArray[np.int32]:
    """Index of each pixel's colour in a table, (H, W), 0 .. BINS**3 - 1."""
    part = (image >> 4).astype(np.int32)
    return (part[..., 0] * BINS + part[..., 1]) * BINS + part[..., 2]


def learn(image: Image, labels: LabelMap) -> dict[int, Colours]:
    """The colours of each object of a key frame, by its number."""
    known: dict[int, Colours] = {}
    for place in _places(image, labels):
        own, other = chances(place.inside), chances(place.around)
        log_odds = np.log((own + _RARE) / (other + _RARE))
        odds = np.clip(log_odds, -_MOST, _MOST).astype(np.float32)
        known[place.number] = Colours(odds, place.contrast(odds))
    return known


def likeness(
    image: Image, labels: LabelMap, known: Mapping[int, Colours], count: int
) -> NDArray[np.float32]:
    """How far each object still differs from its surroundings as it did in the key frame.

    Float32 (`count`,) in [0, 1], entry i for object i + 1. A mask that has lost a part of its
    object, or taken in what is not of it, has less contrast than the key frame's. Objects that are
    absent, unknown, or never had contrast have 1.
    """
    like = np.ones(count, dtype=np.float32)
    for place in _places(image, labels):
        colours = known.get(place.number)
        if colours is not None and colours.contrast > _NO_CONTRAST:
            share = place.contrast(colours.odds) / colours.contrast
            like[place.number - 1] = np.clip(share, 0, 1)
    return like


def _places(image: Image, labels: LabelMap) -> Iterator[_Place]:
    colour = cells(image)
    height, width = labels.shape
    for number, box in enumerate(find_objects(labels), start=1):
        if box is None:
            continue
        size = np.count_nonzero(labels[box] == number) ** 0.5
        ring = round(float(np.clip(_RING_PART * size, *_RING)))
        rows, columns = box
        window = np.s_[
            max(0, rows.start - ring) : min(height, rows.stop + ring),
            max(0, columns.start - ring) : min(width, columns.stop + ring),
        ]
        inside = labels[window] == number
        square = np.ones((2 * ring + 1, 2 * ring + 1), dtype=np.uint8)
        around = (cv2.dilate(inside.astype(np.uint8), square) > 0) & ~inside
        yield _Place(number, colour[window][inside], colour[window][around])


def chances(colour: NDArray[np.int32]) -> NDArray[np.float64]:
    """How likely each of the BINS**3 colour cells is, given some pixels' cells."""
    counts = np.bincount(colour, minlength=BINS**3).astype(np.float64)
    smooth = gaussian_filter(counts.reshape(BINS, BINS, BINS), _SPREAD, mode="nearest").ravel()
    return np.asarray(smooth / max(1.0, smooth.sum()))
