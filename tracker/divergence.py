"""Our estimate, per frame and object, that a mask has left its object."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from tracker.protocol import LabelMap, Step

_JUMP = np.log(4.0)  # an area that changes fourfold from one frame to the next is surely wrong


def score(
    step: Step,
    *,
    previous: LabelMap | None = None,
    agreement: NDArray[np.float32] | None = None,
) -> NDArray[np.float32]:
    """Divergence per object, float32 (N,) in [0, 1], entry i for object i + 1; 0 is no doubt.

    `step`: what is said of the frame. `previous`: label map of the frame before it in the same
    pass, for sudden changes of area. `agreement`: (N,), how far the two passes agree, as
    `fusion.fuse` returns it.

    The doubts (propagator unsure, passes disagree, area jumps) are taken as independent chances to
    be wrong: 1 - product(1 - doubt). That a propagator is unsure of an absent object counts on the
    frame where it vanishes only: what has left is not in doubt for ever.
    """
    count = len(step.confidence)
    now = _areas(step.labels, count)
    before = now if previous is None else _areas(previous, count)
    seen = (now > 0) | (before > 0)
    sure = np.where(seen, np.clip(step.confidence.astype(np.float64), 0.0, 1.0), 1.0)
    if agreement is not None:
        sure *= np.clip(agreement.astype(np.float64), 0.0, 1.0)
    jump = np.abs(np.log(np.maximum(now, 1) / np.maximum(before, 1))) / _JUMP
    sure *= np.where((now > 0) & (before > 0), 1.0 - np.minimum(jump, 1.0), 1.0)
    return (1.0 - sure).astype(np.float32)


def _areas(labels: LabelMap, count: int) -> NDArray[np.int64]:
    return np.bincount(labels.ravel(), minlength=count + 1)[1 : count + 1]
