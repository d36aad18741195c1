"""What may speak against a mask, and what each of it weighs."""

from __future__ import annotations

from enum import IntEnum, StrEnum
from types import MappingProxyType


class Kind(StrEnum):
    """How a mask came about; each kind has weights of its own."""

    SINGLE = "single"  # by one pass, away from a key frame
    FUSED = "fused"  # by two passes, between two key frames


class Sign(IntEnum):
    """What speaks against a mask, a number of 0 and more; the value is its column."""

    UNSURE = 0  # the doubt of this frame, in [0, 1], see `tracker.divergence.doubt`
    STRAYED = 1  # log(1 + the sum of the pass's doubts since its key frame)
    DISTANCE = 2  # log(1 + frames to the key frame)
    FADED = 3  # contrast to the surroundings lost, in colours of the key frame, [0, 1]
    UNLIKE = 4  # colours apart from the key frame's, [0, 1]
    FOREIGN = 5  # more pixels with colours of the surroundings than on the key frame, [0, 1]
    RESIZED = 6  # log ratio of the areas, to the key frame
    SPLIT = 7  # more outside of the largest piece than on the key frame, [0, 1]
    BENT = 8  # 1 - IoU with the last frame's shape
    BORDER = 9  # touches the border of the picture, 0 or 1
    GONE = 10  # no mask, though the object was there: the doubt with which it vanished, [0, 1]
    APART = 11  # 1 - IoU of the two passes
    MISSED = 12  # 1 - IoU of the forward pass's mask on the next key frame with the human's


Table = tuple[float, MappingProxyType[Sign, tuple[float, float]]]
"""The constant, and for each sign that counts its weight and its mean where masks are good."""

WEIGHTS: MappingProxyType[Kind, Table] = MappingProxyType(
    {
        Kind.SINGLE: (
            -3.15,
            MappingProxyType(
                {
                    Sign.UNSURE: (0.47, 0.17),
                    Sign.STRAYED: (0.92, 1.07),
                    Sign.UNLIKE: (1.94, 0.18),
                    Sign.RESIZED: (0.04, 0.26),
                    Sign.SPLIT: (0.53, 0.01),
                    Sign.BENT: (1.08, 0.15),
                    Sign.GONE: (6.00, 0.00),
                }
            ),
        ),
        Kind.FUSED: (
            -3.62,
            MappingProxyType(
                {
                    Sign.STRAYED: (0.51, 0.85),
                    Sign.FADED: (0.36, 0.08),
                    Sign.UNLIKE: (3.73, 0.13),
                    Sign.FOREIGN: (1.02, 0.01),
                    Sign.RESIZED: (0.21, 0.15),
                    Sign.SPLIT: (1.11, 0.00),
                    Sign.BENT: (0.95, 0.16),
                    Sign.GONE: (6.00, 0.00),
                    Sign.APART: (1.15, 0.29),
                    Sign.MISSED: (0.32, 0.36),
                }
            ),
        ),
    }
)
