"""Masks as outlines: the border of each piece to the pixel, and polygons that stay close to it.

Coordinates are CVAT's: the first pixel of an image has the corners (0, 0) and (1, 1), so that an
outline runs along the sides of pixels, and COCO's rule gives exactly its pixels back.
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from cvat_io.masks import decode
from cvat_io.model import Mask
from cvat_io.polygons import has_pixels

Points = NDArray[np.float64]
_SQUARE = np.ones((3, 3), np.uint8)


@dataclass(frozen=True, slots=True, eq=False)
class Piece:
    """Pixels of a mask that touch, at a corner too.

    `outline`: float64 (K, 2), its corners (x, y), in order and closed by itself. `holes`: how many
    there are inside; an outline knows nothing of them. `area`: pixels that the outline encloses.
    """

    outline: Points
    holes: int
    area: int


def pieces_of(mask: Mask) -> list[Piece]:
    """The pieces of a mask that has a pixel, largest first; of equal ones the upper, left one."""
    # On a grid with a point for each corner, side and middle of pixels a pixel is nine points, and
    # its outline runs over points with even numbers.
    canvas = np.zeros((2 * mask.height + 3, 2 * mask.width + 3), np.uint8)
    canvas[2:-2:2, 2:-2:2] = decode(mask)
    contours, tree = cv2.findContours(
        cv2.dilate(canvas, _SQUARE), cv2.RETR_CCOMP, cv2.CHAIN_APPROX_SIMPLE
    )
    parents = np.asarray(tree).reshape(-1, 4)[:, 3]
    holes = np.bincount(parents[parents >= 0], minlength=len(contours))
    pieces = []
    for number in np.flatnonzero(parents < 0).tolist():
        corners = _corners(np.asarray(contours[number], np.int32).reshape(-1, 2) - 1)
        outline = corners / 2 + (mask.left, mask.top)
        pieces.append(Piece(outline, int(holes[number]), round(area_of(outline))))
    pieces.sort(key=lambda each: (-each.area, *each.outline.min(axis=0)[::-1].tolist()))
    return pieces


def polygon_of(outline: Points, tolerance: float) -> Points:
    """Draw an outline with few corners, by Douglas and Peucker: float64 (K, 2), K >= 3.

    No point of the one border is farther than `tolerance` pixels from the other one. Where the
    polygon would have no pixel by CVAT's rule, as of a sliver, it stays closer.

    OpenCV's approxPolyDP is not taken for it: on random blobs its polygons strayed up to 1.4 times
    as far as the tolerance that they were given.
    """
    corner = outline.min(axis=0)
    width, height = (int(side) for side in np.ceil(outline.max(axis=0) - corner))
    while True:
        polygon = outline[_kept(outline, tolerance)]
        if has_pixels(polygon - corner, height, width) or len(polygon) == len(outline):
            return polygon
        tolerance = tolerance / 2 if tolerance > 0.25 else 0.0


def area_of(polygon: Points) -> float:
    """What a polygon encloses, in pixels."""
    x, y = polygon.T
    return float(abs(np.dot(x, np.roll(y, 1)) - np.dot(y, np.roll(x, 1))) / 2)


def _corners(path: NDArray[np.int32]) -> NDArray[np.int32]:
    """The corners of pixels that a traced path goes round.

    Tracing cuts inner corners by a step aslant between the middles of two sides, whose numbers are
    odd: the corner between them is the one point beside that step with even numbers.
    """
    ahead = np.roll(path, -1, axis=0)
    one = np.stack((path[:, 0], ahead[:, 1]), axis=1)
    other = np.stack((ahead[:, 0], path[:, 1]), axis=1)
    cut = np.where((one % 2 == 0).all(axis=1, keepdims=True), one, other)
    aslant = (np.abs(ahead - path) == 1).all(axis=1)
    points = np.stack((path, cut), axis=1)
    kept = np.stack(((path % 2 == 0).all(axis=1), aslant), axis=1)
    return np.asarray(points[kept], np.int32)


def _kept(ring: Points, tolerance: float) -> NDArray[np.int64]:
    """Which points of a closed ring a polygon keeps, at least three.

    All parts that are still too far away are split at once, each at its farthest point.
    """
    start = ring[0]
    kept = np.array([0, int(np.argmax(((ring - start) ** 2).sum(axis=1)))])
    while True:
        part = np.searchsorted(kept, np.arange(len(ring)), side="right") - 1
        far = _distances(ring, ring[kept][part], np.roll(ring[kept], -1, axis=0)[part])
        farthest = np.maximum.reduceat(far, kept)
        split = farthest == farthest.max() if len(kept) < 3 else farthest > tolerance
        if not split.any():
            return kept
        at = np.flatnonzero((far == farthest[part]) & split[part])
        _, first = np.unique(part[at], return_index=True)
        kept = np.union1d(kept, at[first])


def _distances(points: Points, begin: Points, end: Points) -> NDArray[np.float64]:
    """How far points are from segments, one each: float64 (N,)."""
    along = end - begin
    length = (along**2).sum(axis=1)
    share = ((points - begin) * along).sum(axis=1) / np.where(length > 0, length, 1)
    nearest = begin + np.clip(share, 0, 1)[:, None] * along
    return np.asarray(np.hypot(*(points - nearest).T), np.float64)
