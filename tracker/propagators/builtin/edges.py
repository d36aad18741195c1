"""Borders at the full size of the frame: logits that were decided coarsely, laid along its edges.

He and Sun, "Fast Guided Filter" (arXiv 1505.00996): the mask as a linear function of brightness in
every small place, found at the size of the logits and applied to every pixel of the frame. Half of
the say is left to the logits, so that a pattern inside an object does not cut into it.
"""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

from tracker.propagators.flow.matching import floats
from tracker.protocol import Image

_RADIUS = 2  # pixels of the logits
_FLAT = 2e-3  # variance of brightness (0 to 1) that counts as none
_SURE = 6.0  # logits are not told apart beyond it

Field = NDArray[np.float32]


def sharpened(logits: Field, shown: Image, part: Image) -> Field:
    """`logits` (h, w) at the size of `part` (H, W, 3), the frame that they speak of.

    `shown`: (h, w, 3), `part` at their size.
    """
    height, width = part.shape[:2]
    fine, coarse = _brightness(part), _brightness(shown)
    chance = floats(1 / (1 + np.exp(-np.clip(logits, -_SURE, _SURE))))
    level, mean = _mean(chance), _mean(coarse)
    spread = _mean(coarse * coarse) - mean * mean
    steep = floats((_mean(coarse * chance) - mean * level) / (spread + _FLAT))
    slope, offset = (
        floats(cv2.resize(_mean(field), (width, height), interpolation=cv2.INTER_LINEAR))
        for field in (steep, floats(level - steep * mean))
    )
    end = 1 / (1 + float(np.exp(_SURE)))
    guided = floats(np.clip(slope * fine + offset, end, 1 - end))
    plain = cv2.resize(logits, (width, height), interpolation=cv2.INTER_LINEAR)
    return floats((np.log(guided / (1 - guided)) + plain) / 2)


def _brightness(image: Image) -> Field:
    return floats(cv2.cvtColor(image, cv2.COLOR_RGB2GRAY)) / np.float32(255)


def _mean(field: Field) -> Field:
    return floats(cv2.blur(field, (2 * _RADIUS + 1,) * 2, borderType=cv2.BORDER_REFLECT))
