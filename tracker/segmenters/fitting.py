"""A segmenter on a graphics card that may be too small for it: then it goes on on the processor."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from typing import TypeVar

import numpy as np
import torch
from numpy.typing import NDArray

from tracker.fits import PROCESSOR, make_room
from tracker.protocol import Image
from tracker.segmenters.protocol import Answer, Mask, Points, Segmenter, Stroke

_LOG = logging.getLogger(__name__)
T = TypeVar("T")


class FittingSegmenter(Segmenter):
    """One of `make`'s segmenters: that for `device` for as long as it fits, then the processor's.

    It never goes back: what did not fit once will not the next time.
    """

    def __init__(
        self,
        make: Callable[[str], Segmenter],
        device: str,
        on_smaller: Callable[[str], None] = lambda words: None,
    ) -> None:
        """`make(device)`: a segmenter there. `on_smaller` hears once with what it goes on.

        `device`: "cuda" or "cuda:N".
        """
        self._make = make
        self._device = device
        self._on_smaller = on_smaller
        self._image: Image | None = None
        self._segmenter: Segmenter | None = None
        self._fitting(lambda segmenter: None)

    def set_image(self, image: Image) -> None:
        """As `Segmenter.set_image`."""
        self._image = None
        self._fitting(lambda segmenter: segmenter.set_image(image))
        self._image = image

    def predict(
        self,
        points: Points | None = None,
        labels: NDArray[np.int64] | None = None,
        box: NDArray[np.float32] | None = None,
        mask: NDArray[np.float32] | Mask | None = None,
        strokes: Sequence[Stroke] = (),
    ) -> Answer:
        """As `Segmenter.predict`."""
        return self._fitting(
            lambda segmenter: segmenter.predict(points, labels, box, mask, strokes)
        )

    def _fitting(self, do: Callable[[Segmenter], T]) -> T:
        try:
            return do(self._made())
        except torch.OutOfMemoryError:
            if self._device == "cpu":
                raise
        _LOG.warning("%s is too small for the segmenter: going on with %s", self._device, PROCESSOR)
        self._device, self._segmenter = "cpu", None
        make_room()
        if self._image is not None:
            self._made().set_image(self._image)
        self._on_smaller(PROCESSOR)
        return do(self._made())

    def _made(self) -> Segmenter:
        if self._segmenter is None:
            self._segmenter = self._make(self._device)
        return self._segmenter
