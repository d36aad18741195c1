"""What a propagator is. Nothing here knows of CVAT, files, jobs or queues.

Pixels: an image is RGB uint8 (H, W, 3), contiguous. A label map is uint16 (H, W): 0 is background,
1..65535 are objects by number. One label map holds all objects of a frame, so 300 objects cost no
more memory than one.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

Image = NDArray[np.uint8]
LabelMap = NDArray[np.uint16]


@dataclass(frozen=True, slots=True, eq=False)
class Step:
    """What a propagator says of one frame.

    `labels`: label map (H, W). An object that is not in it has left, or is hidden.
    `confidence`: float32 (N,), entry i for object number i + 1, in [0, 1]; N is the largest object
    number given so far. An absent object's entry says how sure it is that the object is absent.
    """

    labels: LabelMap
    confidence: NDArray[np.float32]


@dataclass(frozen=True, slots=True, eq=False)
class Example:
    """A key frame to learn from: its image, and its objects as a human drew them."""

    image: Image
    labels: LabelMap


class Propagator(Protocol):
    """Carries masks from frame to frame, in whichever order frames are given.

    Restartable: after `start(key_frame, labels)` a call `remember(frame, labels)` with the last
    frame that was stepped and the label map that `step` returned for it puts a fresh propagator in
    the state of the one that computed them, to the bit. Where `replays` is true its state is the
    whole history: then that takes `remember` for all frames since the key frame, in their order. A
    killed worker's successor relies on it.
    """

    @property
    def replays(self) -> bool:
        """Whether a successor must show it all frames since the key frame, not the last alone."""
        ...

    def start(self, image: Image, labels: LabelMap) -> None:
        """Forget everything and begin at a key frame (`labels` may be all background)."""
        ...

    def step(self, image: Image) -> Step:
        """Carry the masks to `image`, the neighbour of the frame given last."""
        ...

    def remember(self, image: Image, labels: LabelMap) -> None:
        """Take `labels` as the state at `image` (a correction, a further key frame, a restart).

        `image` is the frame that was stepped to last, or the one after the frame given last.
        """
        ...
