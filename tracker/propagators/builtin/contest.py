"""Objects compete for pixels: the odds of every object at every pixel, and who wins.

Soft aggregation as in Oh et al., "Video Object Segmentation using Space-Time Memory Networks" (ICCV
2019), eq. 2: background is what no object claims, with the product of their doubts.
"""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

from tracker.propagators.builtin.window import Window
from tracker.protocol import LabelMap

Field = NDArray[np.float32]
_SURE = 12.0  # logits are bounded by it


class Contest:
    """Collects claims on one frame. Costs the pixels of the claims, not those of the frame."""

    def __init__(self, height: int, width: int) -> None:
        self._surest = np.full((height, width), -np.inf, dtype=np.float32)
        self._strongest = np.full((height, width), -np.inf, dtype=np.float32)
        self._doubt = np.zeros((height, width), dtype=np.float32)  # log of background's chance
        self._labels = np.zeros((height, width), dtype=np.uint16)

    def claim(self, number: int, logits: Field, strength: Field, window: Window) -> None:
        """Object `number` has `logits` (h, w), which show all of `window` at any size.

        They decide whether there is an object; `strength` (h, w) decides which one it is.
        """
        height, width = self._surest.shape
        rows, columns = window.inside(width, height)
        size = window.right - window.left, window.bottom - window.top
        inside = np.s_[
            rows.start - window.top : rows.stop - window.top,
            columns.start - window.left : columns.stop - window.left,
        ]
        own, strong = (
            np.asarray(cv2.resize(field, size, interpolation=cv2.INTER_LINEAR))[inside]
            for field in (logits, strength)
        )
        own = np.clip(own, -_SURE, _SURE)
        np.maximum(self._surest[rows, columns], own, out=self._surest[rows, columns])
        wins = strong > self._strongest[rows, columns]
        self._strongest[rows, columns][wins] = strong[wins]
        self._labels[rows, columns][wins] = number
        self._doubt[rows, columns] -= np.logaddexp(0, own)

    def winners(self) -> LabelMap:
        """Label map (H, W): at every pixel the strongest object where there is one, else 0."""
        doubt = np.minimum(self._doubt, -1e-6)
        background = doubt - np.log(-np.expm1(doubt))  # its logit
        self._labels[self._surest <= background] = 0
        return self._labels
