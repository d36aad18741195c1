"""Prompts as every segmenter takes them: checked against the image once, in one place.

Coordinates as in `tracker.segmenters.protocol`: (x, y) in pixels, the centre of the first pixel at
(0, 0), so that an image of W x H pixels reaches from -0.5 to W - 0.5 and to H - 0.5.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from errors import InputError
from tracker.protocol import Image
from tracker.segmenters.protocol import Mask, Points, Stroke

_SPACING, _PER_STROKE = 1 / 64, 8  # see `places`


@dataclass(frozen=True, slots=True, eq=False)
class Prompts:
    """What a person wants, fit for an image.

    `points`: float32 (K, 2), K may be 0; `inside`: bool (K,). `box`: float32 (4,), cut to the
    image. At most one of `mask` (bool (H, W), not empty) and `logits` (float32 (h, w)) is given.
    """

    points: Points
    inside: NDArray[np.bool_]
    box: NDArray[np.float32] | None
    mask: Mask | None
    logits: NDArray[np.float32] | None
    strokes: tuple[Stroke, ...]


def checked_image(image: Image) -> Image:
    """`image` as contiguous RGB uint8 (H, W, 3). Raises InputError when it is no such thing."""
    if image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] != 3 or image.size == 0:
        raise InputError(
            f"The image has {image.dtype} values of shape {image.shape}: give 8-bit RGB with at "
            "least one pixel."
        )
    return np.ascontiguousarray(image)


def checked(
    size: tuple[int, int],
    logits_size: tuple[int, int],
    points: Points | None,
    labels: NDArray[np.int64] | None,
    box: NDArray[np.float32] | None,
    mask: NDArray[np.float32] | Mask | None,
    strokes: Sequence[Stroke],
) -> Prompts:
    """The arguments of `Segmenter.predict`, fit for an image of `size` (H, W).

    `logits_size`: (h, w) of the logits that the segmenter gives and takes back. Raises InputError
    as `Segmenter.predict` says.
    """
    places, inside = _points(size, points, labels)
    drawn, logits = _mask(size, logits_size, mask)
    for stroke in strokes:
        _check_stroke(size, stroke)
    prompts = Prompts(places, inside, _box(size, box), drawn, logits, tuple(strokes))
    if not (places.size or strokes or prompts.box is not None or mask is not None):
        raise InputError("Nothing says which object is meant: give a click, a box or a stroke.")
    return prompts


def along(stroke: Stroke, spacing: float, most: int, size: tuple[int, int]) -> Points:
    """Points float32 (K, 2), 1 <= K <= `most`, evenly along the path of `stroke`, ends included.

    They lie at least `spacing` pixels of path apart (a path shorter than that has one point, in its
    middle); those outside of the image of `size` (H, W) are left out, unless all are.
    """
    path = np.asarray(stroke.path, dtype=np.float64).reshape(-1, 2)
    way = np.concatenate([[0.0], np.cumsum(np.linalg.norm(np.diff(path, axis=0), axis=1))])
    count = min(most, int(way[-1] / spacing) + 1)
    at = np.linspace(0, way[-1], count) if count > 1 else way[-1:] / 2
    places = np.stack([np.interp(at, way, path[:, axis]) for axis in (0, 1)], axis=1)
    within = [k for k, place in enumerate(places) if _holds(size, place)]
    if not within:  # the path's corners lie outside between them, or the other way round
        places = path[[k for k, place in enumerate(path) if _holds(size, place)][:1]]
    else:
        places = places[within]
    return places.astype(np.float32)


def places(prompts: Prompts, size: tuple[int, int]) -> tuple[Points, NDArray[np.bool_]]:
    """Clicks, and points of the strokes, for networks that know clicks alone.

    Of a stroke at most eight, as many as SAM's family saw in training, at least 1/64 of the longest
    side of the image of `size` (H, W) apart: one token of its encoders. Points float32 (K, 2),
    whether each is inside bool (K,).
    """
    found, inside = [prompts.points], [prompts.inside]
    for stroke in prompts.strokes:
        drawn = along(stroke, _SPACING * max(size), _PER_STROKE, size)
        found.append(drawn)
        inside.append(np.full(len(drawn), stroke.inside))
    return np.concatenate(found), np.concatenate(inside)


def around(mask: Mask) -> NDArray[np.float32]:
    """The box round the pixels of a mask, float32 (4,): x0, y0, x1, y1."""
    rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
    return np.array([columns[0], rows[0], columns[-1], rows[-1]], dtype=np.float32)


def _points(
    size: tuple[int, int], points: Points | None, labels: NDArray[np.int64] | None
) -> tuple[Points, NDArray[np.bool_]]:
    places = np.zeros((0, 2)) if points is None else np.asarray(points, dtype=np.float32)
    signs = np.zeros(0) if labels is None else np.asarray(labels)
    if places.size == 0:
        places = places.reshape(0, 2)
    if places.ndim != 2 or places.shape[1] != 2 or signs.shape != places.shape[:1]:
        raise InputError(
            f"Points of shape {places.shape} came with labels of shape {signs.shape}: give x and y "
            "of every point, and one label for each."
        )
    if not np.isin(signs, (0, 1)).all():
        raise InputError(
            "A point has a label that is neither 1 (on the object) nor 0 (not on it): use these."
        )
    for place in places:
        _check_place(size, place, "point", "click on the image")
    return places.astype(np.float32), signs == 1


def _box(size: tuple[int, int], box: NDArray[np.float32] | None) -> NDArray[np.float32] | None:
    if box is None:
        return None
    corners = np.asarray(box, dtype=np.float32).ravel()
    if corners.size != 4 or not np.isfinite(corners).all():
        raise InputError(f"A box has four numbers x0, y0, x1, y1, not {corners.tolist()}.")
    x0, y0, x1, y1 = corners.tolist()
    if x0 >= x1 or y0 >= y1:
        raise InputError(
            f"The box from ({x0:g}, {y0:g}) to ({x1:g}, {y1:g}) is empty: its first corner must be "
            "the upper left, its second one the lower right."
        )
    height, width = size
    if x1 < -0.5 or y1 < -0.5 or x0 > width - 0.5 or y0 > height - 0.5:
        raise InputError(
            f"The box from ({x0:g}, {y0:g}) to ({x1:g}, {y1:g}) lies outside of the image of "
            f"{width} x {height} pixels: draw it on the image."
        )
    lowest, highest = np.float32(-0.5), np.array([width, height] * 2, dtype=np.float32) - 0.5
    return np.clip(corners, lowest, highest).astype(np.float32)


def _mask(
    size: tuple[int, int],
    logits_size: tuple[int, int],
    mask: NDArray[np.float32] | Mask | None,
) -> tuple[Mask | None, NDArray[np.float32] | None]:
    if mask is None:
        return None, None
    given = np.asarray(mask)
    wanted = size if given.dtype == np.bool_ else logits_size
    if given.shape != wanted:
        kind = "mask" if given.dtype == np.bool_ else "earlier logits"
        raise InputError(
            f"The {kind} have the shape {given.shape} and not {wanted}: give a mask of this image, "
            "or what this engine answered before."
        )
    if given.dtype == np.bool_:
        if not given.any():
            raise InputError("The mask to start from has no pixel: leave it out, or draw one.")
        return np.asarray(given, dtype=np.bool_), None
    if not np.issubdtype(given.dtype, np.floating) or not np.isfinite(given).all():
        raise InputError("The earlier logits are not all finite numbers: give them as answered.")
    return None, given.astype(np.float32)


def _check_stroke(size: tuple[int, int], stroke: Stroke) -> None:
    path = np.asarray(stroke.path)
    if path.ndim != 2 or path.shape[1] != 2 or not path.size or not np.isfinite(path).all():
        raise InputError("A stroke is no row of points (x, y): give at least one, all finite.")
    if not (np.isfinite(stroke.width) and stroke.width > 0):
        raise InputError(f"A stroke is {stroke.width} pixels wide: give a width above 0.")
    if not any(_holds(size, place) for place in path):
        _check_place(size, path[0], "stroke from", "draw it on the image")


def _check_place(size: tuple[int, int], place: NDArray[Any], what: str, cure: str) -> None:
    if not _holds(size, place):
        raise InputError(
            f"The {what} ({place[0]:g}, {place[1]:g}) lies outside of the image of {size[1]} x "
            f"{size[0]} pixels: {cure}."
        )


def _holds(size: tuple[int, int], place: NDArray[Any]) -> bool:
    x, y = float(place[0]), float(place[1])
    return -0.5 <= x <= size[1] - 0.5 and -0.5 <= y <= size[0] - 0.5
