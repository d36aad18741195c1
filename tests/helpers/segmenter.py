"""A small segmenter for the clips of `tests.helpers.clips`: their objects are brighter than the
ground, and it finds exactly what is bright in a box."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from tracker.protocol import Image
from tracker.segmenters.protocol import Answer, Mask, Points, Stroke

_BRIGHT = 125  # the ground is darker in every channel, objects are brighter in every one


class BrightSegmenter:
    """Finds bright pixels whose centres lie in the box, `margin` pixels around it included."""

    def __init__(self, margin: float = 0.0) -> None:
        self.margin = margin
        self.boxes: list[list[float]] = []  # all that were asked for
        self.images = 0
        self._bright: NDArray[np.bool_] | None = None

    def set_image(self, image: Image) -> None:
        self.images += 1
        self._bright = (image >= _BRIGHT).all(axis=2)

    def predict(
        self,
        points: Points | None = None,
        labels: NDArray[np.int64] | None = None,
        box: NDArray[np.float32] | None = None,
        mask: NDArray[np.float32] | Mask | None = None,
        strokes: Sequence[Stroke] = (),
    ) -> Answer:
        assert self._bright is not None
        assert box is not None
        x0, y0, x1, y1 = box.tolist()
        self.boxes.append([x0, y0, x1, y1])
        rows, columns = np.indices(self._bright.shape)
        near = (rows > y0 - self.margin) & (rows < y1 + self.margin)
        near &= (columns > x0 - self.margin) & (columns < x1 + self.margin)
        return Answer(self._bright & near, 0.9, np.zeros((1, 1), dtype=np.float32))
