"""Specks and pin-holes of one object's mask: pieces and gaps too small to be meant.

Pixels that touch, at a corner too, are one piece. A hole is ground that the mask encloses: its
pixels touch at their sides, and none of them lies at the border of the array.
"""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

Pixels = NDArray[np.bool_]

_PIECES, _GROUND = 8, 4  # neighbours: what touches at a corner is either one or two things


def without_specks(pixels: Pixels, least: int) -> tuple[Pixels, int]:
    """Take away pieces of fewer than `least` pixels; returns the rest, and how many went.

    `pixels`: bool (H, W); returned as it is where nothing goes. Where all pieces are so small the
    largest one stays (of equal ones the first in reading order): no object vanishes by this.
    """
    numbers, areas = _parts(pixels, _PIECES)
    kept = areas >= least
    kept[0] = False  # the ground
    if not kept.any() and areas.size > 1:
        kept[_largest(numbers, areas)] = True
    gone = areas.size - 1 - int(kept.sum())
    return (kept[numbers], gone) if gone else (pixels, 0)


def without_holes(pixels: Pixels, least: int, free: Pixels) -> tuple[Pixels, int]:
    """Fill holes of fewer than `least` pixels where `free`; returns the mask, and how many.

    `pixels`, `free`: bool (H, W); the mask is returned as it is where nothing is filled. A hole
    counts with all its pixels, also those that are not free and therefore stay open.
    """
    ground = np.pad(~pixels, 1, constant_values=True)  # joins all ground that reaches the border
    numbers, areas = _parts(ground, _GROUND)
    small = areas < least
    small[0] = small[numbers[0, 0]] = False  # the mask itself, and the ground around it
    if not small.any():
        return pixels, 0
    inner = numbers[1:-1, 1:-1]
    filled = small[inner] & free
    holes = int(np.unique(inner[filled]).size)
    return (pixels | filled, holes) if holes else (pixels, 0)


def _parts(pixels: Pixels, neighbours: int) -> tuple[NDArray[np.int32], NDArray[np.int32]]:
    """Number connected pixels from 1 on: numbers int32 (H, W), and areas by number, 0 included."""
    _, numbers, figures, _ = cv2.connectedComponentsWithStats(
        pixels.view(np.uint8), connectivity=neighbours, ltype=cv2.CV_32S
    )
    return np.asarray(numbers, np.int32), np.asarray(figures[:, cv2.CC_STAT_AREA], np.int32)


def _largest(numbers: NDArray[np.int32], areas: NDArray[np.int32]) -> int:
    """The number of the largest piece; in which order OpenCV numbers equal ones is no promise."""
    equal = np.flatnonzero(areas[1:] == areas[1:].max()) + 1
    return int(numbers[np.isin(numbers, equal)][0])
