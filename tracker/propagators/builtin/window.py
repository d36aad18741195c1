"""Where to look for an object, and at which scale."""

from __future__ import annotations

from dataclasses import dataclass
from math import ceil, floor
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import find_objects

from tracker.propagators.builtin.backbone import STRIDE
from tracker.protocol import Image, LabelMap

_REACH = 0.35  # margin on every side, of the object's larger side
_LEAST = 80.0  # pixels, the shortest side of a window
_LARGEST = 4.0  # more enlargement shows nothing more
_TRIM = 0.005  # share of an object's pixels that may lie outside its box on either side

Box = tuple[int, int, int, int]
"""Left, top, right, bottom in pixels; the last two lie outside."""
Rect = tuple[float, float, float, float]


@dataclass(frozen=True, slots=True)
class Window:
    """A rectangle of the frame and the size at which the network sees it.

    `left`, `top`, `right`, `bottom`: in pixels of the frame, may reach out of it. `scale`: pixels
    of the input per pixel of the frame. `width`, `height`: of the input.
    """

    left: int
    top: int
    right: int
    bottom: int
    scale: float
    width: int
    height: int

    def inside(self, width: int, height: int) -> tuple[slice, slice]:
        """Rows and columns of the frame that lie in the window."""
        return (
            slice(max(0, self.top), min(height, self.bottom)),
            slice(max(0, self.left), min(width, self.right)),
        )

    def cut(self, field: NDArray[Any], border: int = cv2.BORDER_REFLECT_101) -> NDArray[Any]:
        """The part of `field` (H, W[, C]) at its own size; what is outside of it by `border`."""
        height, width = field.shape[:2]
        rows, columns = self.inside(width, height)
        part = field[rows, columns]
        pads = (
            rows.start - self.top,
            self.bottom - rows.stop,
            columns.start - self.left,
            self.right - columns.stop,
        )
        if not any(pads):
            return part
        if border == cv2.BORDER_REFLECT_101 and max(pads) >= min(part.shape[:2]):
            border = cv2.BORDER_REPLICATE  # too little is there to be mirrored
        return np.asarray(cv2.copyMakeBorder(part, *pads, borderType=border))

    def shown(self, image: Image) -> Image:
        """What the network sees of `image`: (`height`, `width`, 3)."""
        return np.asarray(resized(self.cut(image), self.width, self.height), dtype=np.uint8)

    def part(self, rect: Rect) -> tuple[int, int, int, int]:
        """Top, bottom, left, right of the input that show `rect`, multiples of STRIDE."""
        across = self.width / (self.right - self.left)
        down = self.height / (self.bottom - self.top)
        left, right = _on_grid(
            (rect[0] - self.left) * across, (rect[2] - self.left) * across, self.width
        )
        top, bottom = _on_grid(
            (rect[1] - self.top) * down, (rect[3] - self.top) * down, self.height
        )
        return top, bottom, left, right


def resized(field: NDArray[Any], width: int, height: int) -> NDArray[Any]:
    """`field` (H, W[, C]) at another size: areas are averaged when it shrinks."""
    shrinks = width * height < field.shape[0] * field.shape[1]
    way = cv2.INTER_AREA if shrinks else cv2.INTER_LINEAR
    return np.asarray(cv2.resize(field, (width, height), interpolation=way))


def box_of(mask: NDArray[np.bool_]) -> Box | None:
    """The box round all but a few stray pixels of `mask` (H, W); None without any."""
    ends = []
    for axis in (0, 1):
        share = np.cumsum(mask.sum(axis=axis, dtype=np.int64))
        total = int(share[-1])
        if total == 0:
            return None
        low = int(np.searchsorted(share, _TRIM * total, side="right"))
        high = int(np.searchsorted(share, (1 - _TRIM) * total, side="left")) + 1
        ends.append((low, max(high, low + 1)))
    (left, right), (top, bottom) = ends
    return left, top, right, bottom


def boxes_of(labels: LabelMap) -> dict[int, Box]:
    """`box_of` every object of a label map (H, W), by number."""
    boxes: dict[int, Box] = {}
    for number, place in enumerate(find_objects(labels), start=1):
        if place is None:
            continue
        box = box_of(labels[place] == number)
        assert box is not None
        rows, columns = place
        left, top, right, bottom = box
        boxes[number] = (
            left + columns.start,
            top + rows.start,
            right + columns.start,
            bottom + rows.start,
        )
    return boxes


def around(box: Box, width: int, height: int) -> Rect:
    """Where an object may be one frame later, in a frame of `width` x `height` pixels."""
    left, top, right, bottom = box
    margin = _REACH * max(right - left, bottom - top)
    x0, x1 = _side(left, right, margin, width)
    y0, y1 = _side(top, bottom, margin, height)
    return x0, y0, x1, y1


def fit(rect: Rect, pixels: float) -> Window:
    """The window of `rect`, shown in about `pixels` pixels on sides that fit the network."""
    x0, y0, x1, y1 = rect
    scale = min(_LARGEST, (pixels / ((x1 - x0) * (y1 - y0))) ** 0.5)
    across, left, right = _fitted(x0, x1, scale)
    down, top, bottom = _fitted(y0, y1, scale)
    return Window(left, top, right, bottom, scale, across, down)


def _side(low: int, high: int, margin: float, limit: int) -> tuple[float, float]:
    margin = max(margin, (_LEAST - (high - low)) / 2)
    return max(0.0, low - margin), min(float(limit), high + margin)


def _fitted(low: float, high: float, scale: float) -> tuple[int, int, int]:
    """Size of the input, and the side of the window, which holds all from `low` to `high`."""
    size = max(STRIDE, round((high - low) * scale / STRIDE) * STRIDE)
    first, stop = floor(low), ceil(high)
    length = max(stop - first, round(size / scale))
    middle = round((low + high - length) / 2)
    start = min(first, max(stop - length, middle))
    return size, start, start + length


def _on_grid(low: float, high: float, limit: int) -> tuple[int, int]:
    start = int(np.clip(low // STRIDE * STRIDE, 0, limit - STRIDE))
    stop = int(np.clip(-(-high // STRIDE) * STRIDE, start + STRIDE, limit))
    return start, stop
