"""How close a mask comes to a human's: region J and boundary F of the DAVIS benchmark.

Both are defined by Perazzi et al., "A Benchmark Dataset and Evaluation Methodology for Video Object
Segmentation", CVPR 2016, section 4. Masks are bool arrays (H, W) of one object.
"""

from __future__ import annotations

import math

import cv2
import numpy as np
from numpy.typing import NDArray

Pixels = NDArray[np.bool_]

SHARE = 0.008  # of the image diagonal: how far boundaries may lie apart and still match


def region(found: Pixels, drawn: Pixels) -> float:
    """J: intersection over union in [0, 1]; two empty masks have 1."""
    union = int(np.count_nonzero(found | drawn))
    return int(np.count_nonzero(found & drawn)) / union if union else 1.0


def contour(found: Pixels, drawn: Pixels) -> float:
    """F: harmonic mean in [0, 1] of the boundary's precision and recall.

    Precision is the share of the boundary of `found` that lies within `tolerance` of the boundary
    of `drawn`, recall the same the other way round. F is 1 where neither has a boundary, 0 where
    only one has.
    """
    ours, theirs = boundary(found), boundary(drawn)
    box = _box(ours | theirs)
    if box is None:
        return 1.0
    disk = _disk(tolerance(*found.shape))
    # No pixel of either boundary lies outside the box: what is beyond it can match nothing.
    ours, theirs = ours[box], theirs[box]
    if not ours.any() or not theirs.any():
        return 0.0
    precision = _share_near(ours, theirs, disk)
    recall = _share_near(theirs, ours, disk)
    return 2 * precision * recall / (precision + recall) if precision + recall else 0.0


def tolerance(height: int, width: int) -> int:
    """Pixels that two matching boundaries may lie apart: 8 at 854x480."""
    return math.ceil(SHARE * math.hypot(height, width))


def boundary(mask: Pixels) -> Pixels:
    """Boundary one pixel wide, bool (H, W): pixels unlike their right, lower or lower right one.

    What lies outside the image is taken to be as the image's last row and column, so the image's
    own border is no boundary and a mask that fills it has none.
    """
    beyond = np.pad(mask, ((0, 1), (0, 1)), mode="edge")
    right, lower, diagonal = beyond[:-1, 1:], beyond[1:, :-1], beyond[1:, 1:]
    edge: Pixels = (mask != right) | (mask != lower) | (mask != diagonal)
    return edge


def _share_near(pixels: Pixels, others: Pixels, disk: NDArray[np.uint8]) -> float:
    """The share of `pixels` (at least one) that have one of `others` within the disk."""
    near = cv2.dilate(np.ascontiguousarray(others).view(np.uint8), disk) > 0
    return int(np.count_nonzero(pixels & near)) / int(np.count_nonzero(pixels))


def _disk(radius: int) -> NDArray[np.uint8]:
    """All offsets of at most `radius`, as a kernel."""
    offsets = np.arange(-radius, radius + 1)
    disk: NDArray[np.uint8] = (offsets**2 + offsets[:, None] ** 2 <= radius**2).astype(np.uint8)
    return disk


def _box(mask: Pixels) -> tuple[slice, slice] | None:
    """The rows and columns that hold all set pixels; None when there is none."""
    rows, columns = (np.flatnonzero(mask.any(axis=axis)) for axis in (1, 0))
    if rows.size == 0:
        return None
    return slice(rows[0], rows[-1] + 1), slice(columns[0], columns[-1] + 1)
