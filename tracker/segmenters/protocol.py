"""What a segmenter is. It knows one image at a time, and nothing of time.

Points are (x, y) in pixels of the image as it was given, the centre of the first pixel at (0, 0).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from tracker.protocol import Image

Mask = NDArray[np.bool_]
Points = NDArray[np.float32]


@dataclass(frozen=True, slots=True, eq=False)
class Stroke:
    """A line drawn with a round brush: over the object, or over what is not the object.

    `path`: float32 (K, 2), at least one point; `width`: of the brush, pixels.
    """

    path: Points
    width: float
    inside: bool


@dataclass(frozen=True, slots=True, eq=False)
class Answer:
    """A segmenter's answer.

    `mask`: bool (H, W) of the image. `score`: how good it takes the mask to be, in [0, 1] (an
    expected IoU). `logits`: float32 (h, w) at a low resolution, to be given back as `mask` with
    further prompts.
    """

    mask: Mask
    score: float
    logits: NDArray[np.float32]


class Segmenter(Protocol):
    """Turns prompts into a mask of one object; see the module's docstring for coordinates."""

    def set_image(self, image: Image) -> None:
        """Look at `image`, RGB uint8 (H, W, 3); the costly part, kept for further prompts."""
        ...

    def predict(
        self,
        points: Points | None = None,
        labels: NDArray[np.int64] | None = None,
        box: NDArray[np.float32] | None = None,
        mask: NDArray[np.float32] | Mask | None = None,
        strokes: Sequence[Stroke] = (),
    ) -> Answer:
        """The mask of what the prompts mean.

        `points`: float32 (K, 2); `labels` (K,): 1 where a point is on the object, 0 where it is
        not. `box`: (x0, y0, x1, y1) around it. `mask`: an earlier `Answer.logits`, or a mask
        bool (H, W) to start from. Raises InputError when there is no prompt at all, or a point,
        box or mask cannot belong to the image; RuntimeError before `set_image`.
        """
        ...
