"""Which parts of a frame the network looks at, and how finely, for any number of objects.

Objects that are close share one look: neighbouring windows are merged as long as that costs no more
than looking twice. The sum of all looks is bounded, so that many objects cost little more than a
few; each is then seen more coarsely.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from tracker.propagators.builtin.window import Box, Window, around, fit

_MOST = 2.4  # the pixels of all looks together, in looks at one object
_ALIKE = 1.5  # scales that differ by more are not brought together


@dataclass(frozen=True, slots=True)
class Region:
    """One look: its window, and for each of its objects the part of the input that shows it.

    `parts`: by object number: top, bottom, left, right in pixels of the input, multiples of STRIDE.
    """

    window: Window
    parts: Mapping[int, tuple[int, int, int, int]]
    areas: Mapping[int, float]


def regions(boxes: Mapping[int, Box], width: int, height: int, pixels: int) -> list[Region]:
    """The looks for objects by number in a frame of `width` x `height` pixels.

    `pixels`: of the look at a single object.
    """
    if not boxes:
        return []
    numbers = list(boxes)
    wanted = [around(boxes[number], width, height) for number in numbers]
    rects = np.array(wanted, dtype=np.float64)
    scales = np.array([fit(rect, pixels).scale for rect in wanted])
    groups = _merged(rects, scales)
    unions = [_union(rects[members]) for members in groups]
    finest = np.array([scales[members].max() for members in groups])
    areas = np.array([(right - left) * (low - top) for left, top, right, low in unions])
    finest = finest * min(1.0, (_MOST * pixels / float((areas * finest**2).sum())) ** 0.5)
    found = []
    for members, rect, area, scale in zip(groups, unions, areas, finest, strict=True):
        window = fit(rect, float(area * scale**2))
        parts = {numbers[k]: window.part(wanted[k]) for k in members}
        own = {numbers[k]: float((rects[k, 2:] - rects[k, :2]).prod()) for k in members}
        found.append(Region(window, parts, own))
    return found


def _merged(rects: NDArray[np.float64], scales: NDArray[np.float64]) -> list[list[int]]:
    groups = [[index] for index in range(len(rects))]
    rects, scales = rects.copy(), scales.copy()
    while len(groups) > 1:
        low = np.minimum(rects[:, None, :2], rects[None, :, :2])
        high = np.maximum(rects[:, None, 2:], rects[None, :, 2:])
        finest = np.maximum(scales[:, None], scales[None])
        together = (high - low).prod(axis=2) * finest**2
        apart = (rects[:, 2:] - rects[:, :2]).prod(axis=1) * scales**2
        saved = apart[:, None] + apart[None] - together
        saved[finest > _ALIKE * np.minimum(scales[:, None], scales[None])] = -np.inf
        np.fill_diagonal(saved, -np.inf)
        a, b = divmod(int(saved.argmax()), len(groups))
        if saved[a, b] <= 0:
            break
        rects[a], scales[a] = _union(rects[[a, b]]), finest[a, b]
        groups[a] = groups[a] + groups[b]
        del groups[b]
        rects, scales = np.delete(rects, b, axis=0), np.delete(scales, b)
    return groups


def _union(rects: NDArray[np.float64]) -> tuple[float, float, float, float]:
    left, top = rects[:, :2].min(axis=0)
    right, bottom = rects[:, 2:].max(axis=0)
    return float(left), float(top), float(right), float(bottom)
