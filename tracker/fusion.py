"""Two passes over one gap, one result: the forward and the backward pass weighed pixel by pixel."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from tracker.protocol import Step

_SHARP = 8  # how much more a small difference in confidence counts than one in distance


def fuse(
    forward: Step,
    backward: Step,
    *,
    weight_forward: float,
    in_forward: NDArray[np.bool_],
    in_backward: NDArray[np.bool_],
) -> tuple[Step, NDArray[np.float32]]:
    """Decide every pixel on which the passes differ, and say how far they agree.

    `weight_forward` in [0, 1]: trust in the forward pass, by its distance from its key frame; the
    backward pass has the rest. `in_forward`, `in_backward`: bool (N,), entry i for object i + 1:
    whether that pass has ever been told of the object.

    An object that only one pass knows is decided by that pass wherever the other says background,
    for a pass cannot deny what it was never shown. Everywhere else the larger trust wins: weight
    times confidence, to the power of 8 where both passes see the object, for one that has lost its
    way says so by little (a tie goes to the forward pass), where a pass that says background speaks
    with its confidence in the object that the other one claims.

    Returns the fused step, and float32 (N,) in [0, 1]: the IoU of the two passes per object (1
    where both lack it, or where only one knows it and nothing contradicts).
    """
    count = len(in_forward)
    a, b = forward.labels, backward.labels
    inside_a = np.bincount(a.ravel(), minlength=count + 1)[1:]
    inside_b = np.bincount(b.ravel(), minlength=count + 1)[1:]
    power = np.where((inside_a > 0) & (inside_b > 0), _SHARP, 1)
    trust_a = _trust(forward, in_forward, weight_forward, power)
    trust_b = _trust(backward, in_backward, 1.0 - weight_forward, power)

    where = np.nonzero(a != b)
    x, y = a[where], b[where]
    claim_a = trust_a[np.where(x > 0, x, y)]
    claim_b = trust_b[np.where(y > 0, y, x)]
    labels = a.copy()
    labels[where] = np.where(claim_a >= claim_b, x, y)

    both = np.bincount(a[a == b], minlength=count + 1)[1:]
    union = inside_a + inside_b - both
    agreement = np.ones(count, dtype=np.float32)
    shared = in_forward & in_backward & (union > 0)
    agreement[shared] = both[shared] / union[shared]

    share_a = np.where(in_backward, weight_forward, 1.0) * in_forward
    share_b = np.where(in_forward, 1.0 - weight_forward, 1.0) * in_backward
    confidence = share_a * _padded(forward.confidence, count)
    confidence += share_b * _padded(backward.confidence, count)
    return Step(labels, confidence.astype(np.float32)), agreement


def _trust(
    step: Step, known: NDArray[np.bool_], weight: float, power: NDArray[np.int64]
) -> NDArray[np.float64]:
    """Weight times confidence by object number, (N + 1,); below any claim where not known."""
    trust = np.full(len(known) + 1, 0.0)
    trust[1:] = np.where(known, weight * _padded(step.confidence, len(known)) ** power, -1.0)
    return trust


def _padded(confidence: NDArray[np.float32], count: int) -> NDArray[np.float64]:
    padded = np.zeros(count)
    padded[: len(confidence)] = confidence[:count]
    return padded
