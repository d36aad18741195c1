"""Frames as the network takes them: sizes, resampling, normalisation; and label maps likewise."""

from __future__ import annotations

import cv2
import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from tracker.protocol import Image, LabelMap

LONGEST = 1040  # pixels of the longer side at most, as the published tool has it
CELL = 16

_MEAN, _DEVIATION = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)  # of ImageNet
# Every value that a pixel can take, computed in double precision and rounded once.
_NORMALISED = np.stack(
    [(np.arange(256) / 255.0 - m) / d for m, d in zip(_MEAN, _DEVIATION, strict=True)], axis=-1
).astype(np.float32)[None]


def network_size(
    height: int, width: int, *, corners: bool, longest: int = LONGEST
) -> tuple[int, int]:
    """The size at which a frame of (height, width) is shown to the network.

    Sides are 16 n + 1 where the network keeps `corners`, else 16 n; halves are rounded to even n.
    """
    scale = longest / max(height, width) if max(height, width) > longest else 1.0
    odd = 1 if corners else 0

    def aligned(side: int) -> int:
        scaled = int(scale * side)
        cells = max(int(np.around((scaled - odd) / CELL)), 1 - odd)
        return cells * CELL + odd

    return aligned(height), aligned(width)


def normalised(image: Image, size: tuple[int, int]) -> Tensor:
    """`image` (H, W, 3) as float32 (1, 3, h, w), channels last. Resampled as 8 bit pixels."""
    height, width = size
    if image.shape[:2] != size:
        image = np.asarray(
            cv2.resize(image, (width, height), interpolation=cv2.INTER_CUBIC), dtype=np.uint8
        )
    shown = cv2.LUT(image, _NORMALISED)
    return torch.from_numpy(shown).permute(2, 0, 1)[None]


def shrunk(labels: LabelMap, size: tuple[int, int]) -> Tensor:
    """A label map (H, W) as float32 (h, w), by the nearest pixel."""
    plane = torch.from_numpy(labels.astype(np.float32))[None, None]
    return functional.interpolate(plane, size=size, mode="nearest")[0, 0]
