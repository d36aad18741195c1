"""Objects that were lost: what the key frame says of them, and whether something found is one."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from dataclasses import dataclass, field

import cv2
import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import find_objects, label

from tracker.protocol import Image, LabelMap

_BINS = 8  # of a colour histogram, per channel
_SIZE = 4.0  # how many times larger or smaller than in the key frame
_LIKE = 0.5  # intersection of histograms from which colours are taken for the same
_GAP = 0.02  # part of the frame's diagonal: pieces closer to another object are its, not lost ones
_PIXELS = 25  # fewer are noise


@dataclass(frozen=True, slots=True, eq=False)
class _Look:
    area: int
    colours: NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class Search:
    """Knows the objects of a key frame by size and colours."""

    _looks: dict[int, _Look] = field(default_factory=dict)

    @staticmethod
    def for_objects(image: Image, labels: LabelMap) -> Search:
        """The objects of a key frame."""
        looks = {}
        for number, place in enumerate(find_objects(labels), start=1):
            if place is not None:
                mask = labels[place] == number
                looks[number] = _Look(int(np.count_nonzero(mask)), _colours(image[place], mask))
        return Search(looks)

    def known(self, numbers: Collection[int] | NDArray[np.int64]) -> list[int]:
        """Those of `numbers` that can be looked for."""
        return [int(number) for number in numbers if int(number) in self._looks]

    def area(self, number: int) -> float:
        """Pixels of an object in the key frame; infinite for one that was not there."""
        return float(self._looks[number].area) if number in self._looks else float("inf")

    def found(
        self, image: Image, claims: LabelMap, labels: LabelMap, lost: list[int]
    ) -> Iterator[tuple[int, NDArray[np.bool_]]]:
        """Which pieces of `claims` (nonzero where something was found) are which `lost` objects.

        `labels`: what the frame has already. Yields numbers with masks (H, W).
        """
        height, width = labels.shape
        reach = max(1, round(_GAP * float(np.hypot(height, width))))
        square = np.ones((2 * reach + 1,) * 2, dtype=np.uint8)
        taken = cv2.dilate((labels > 0).astype(np.uint8), square) > 0
        pieces, _ = label(claims > 0)
        left = list(lost)
        sized = [
            (int(np.count_nonzero(pieces[place] == index)), index, place)
            for index, place in enumerate(find_objects(pieces), start=1)
            if place is not None
        ]
        for area, index, place in sorted(sized, key=lambda entry: -entry[0]):
            mask = pieces[place] == index
            if area < _PIXELS or not left or bool((taken[place] & mask).any()):
                continue
            colours = _colours(image[place], mask)
            best = max(left, key=lambda number: self._likeness(number, area, colours))
            if self._likeness(best, area, colours) >= _LIKE:
                left.remove(best)
                whole = np.zeros(labels.shape, dtype=bool)
                whole[place] = mask
                yield best, whole

    def _likeness(self, number: int, area: int, colours: NDArray[np.float32]) -> float:
        look = self._looks[number]
        if not look.area / _SIZE <= area <= look.area * _SIZE:
            return 0.0
        return float(np.minimum(look.colours, colours).sum())


def _colours(image: Image, mask: NDArray[np.bool_]) -> NDArray[np.float32]:
    """Histogram of the colours under `mask`, sum 1, each colour spread over its neighbours."""
    cells = (image[mask] >> 5).astype(np.int64)
    flat = (cells[:, 0] * _BINS + cells[:, 1]) * _BINS + cells[:, 2]
    counts = np.bincount(flat, minlength=_BINS**3).astype(np.float32)
    return np.asarray(counts / max(1, len(flat)), dtype=np.float32)
