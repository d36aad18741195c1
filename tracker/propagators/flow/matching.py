"""Dense optical flow both ways between two frames, and where the two ways contradict.

Flow: Kroeger et al., "Fast Optical Flow using Dense Inverse Search" (ECCV 2016), as OpenCV has it.
"""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from tracker.protocol import Image

_PIXELS = 600_000  # what is matched: larger pictures are shrunk to it, smaller ones enlarged
_ENLARGE = 2.0  # at most: it lets the finest patches follow small objects
_UNSEEN = 1e3  # gap of what comes from outside the picture, pixels
_LEAST_SIDE = 32  # DIS needs some pixels for its patches and pyramid


Field = NDArray[np.float32]


@dataclass(frozen=True, slots=True, eq=False)
class Flow:
    """Where every pixel of this picture was in the last one.

    `x`, `y`: float32 (H, W), absolute coordinates in the last picture, in pixels.
    `gap`: float32 (H, W), pixels by which going there and back misses the start (large where the
    last picture did not show this point, or it lies outside of it).
    """

    x: NDArray[np.float32]
    y: NDArray[np.float32]
    gap: NDArray[np.float32]


def flow(last: Image, image: Image) -> Flow:
    """Match `image` with `last`, both RGB uint8 (H, W, 3) of one size.

    The two directions run in two threads (OpenCV lets go of the interpreter's lock).
    """
    height, width = image.shape[:2]
    columns, rows = _size(width, height, _PIXELS)
    start, end = _grey(image, columns, rows), _grey(last, columns, rows)
    with ThreadPoolExecutor(max_workers=1) as pool:
        there = pool.submit(_match, end, start)
        back = _match(start, end)
        forth = there.result()

    x, y = _targets(back)
    missed = cv2.add(
        cv2.remap(forth, x, y, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE), back
    )
    step = np.array([width / columns, height / rows], dtype=np.float32)
    missed = _resized(floats(missed) * step, width, height)
    gap = floats(cv2.magnitude(missed[..., 0], missed[..., 1]))
    x, y = _targets(_resized(back * step, width, height))
    gap[(x < -0.5) | (x > width - 0.5) | (y < -0.5) | (y > height - 0.5)] = _UNSEEN
    return Flow(x, y, gap)


def motion(last: Image, image: Image, pixels: int) -> tuple[Field, Field]:
    """Where every pixel of `image` was in `last`: x and y, float32 (H, W), in pixels.

    One way only and unchecked, matched at about `pixels` pixels: a fraction of the cost of `flow`.
    """
    height, width = image.shape[:2]
    columns, rows = _size(width, height, pixels)
    back = _match(_grey(image, columns, rows), _grey(last, columns, rows))
    step = np.array([width / columns, height / rows], dtype=np.float32)
    return _targets(_resized(back * step, width, height))


def _size(width: int, height: int, pixels: int) -> tuple[int, int]:
    scale = min(_ENLARGE, (pixels / (width * height)) ** 0.5)
    return max(_LEAST_SIDE, round(width * scale)), max(_LEAST_SIDE, round(height * scale))


def floats(values: NDArray[Any] | cv2.typing.MatLike) -> NDArray[np.float32]:
    """`values` as a contiguous float32 array (what OpenCV returns is typed too loosely)."""
    return np.ascontiguousarray(values, dtype=np.float32)


def _grey(image: Image, columns: int, rows: int) -> NDArray[np.uint8]:
    grey = cv2.cvtColor(image, cv2.COLOR_RGB2GRAY)
    shrinks = columns * rows < grey.size
    way = cv2.INTER_AREA if shrinks else cv2.INTER_LINEAR
    return np.asarray(cv2.resize(grey, (columns, rows), interpolation=way), dtype=np.uint8)


def _match(start: NDArray[np.uint8], end: NDArray[np.uint8]) -> NDArray[np.float32]:
    """Displacement (H, W, 2) from every pixel of `start` to its place in `end`."""
    matcher = cv2.DISOpticalFlow.create(cv2.DISOpticalFlow_PRESET_MEDIUM)
    # The variational smoothing blurs motion across the very borders that matter here: without
    # it, masks of real clips keep some 3 percent more IoU over 20 frames, at twice the speed.
    matcher.setVariationalRefinementIterations(0)
    nothing = np.empty(0, dtype=np.float32)  # no first guess
    return floats(matcher.calc(start, end, nothing))


def _resized(field: NDArray[np.float32], width: int, height: int) -> NDArray[np.float32]:
    return floats(cv2.resize(field, (width, height), interpolation=cv2.INTER_LINEAR))


def _targets(back: NDArray[np.float32]) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    height, width = back.shape[:2]
    x = floats(back[..., 0] + np.arange(width, dtype=np.float32))
    y = floats(back[..., 1] + np.arange(height, dtype=np.float32)[:, None])
    return x, y
