"""Our estimate, per frame and object, of how much of a mask is wrong: 1 - IoU, as expected.

What speaks against a mask are its `Sign`s, numbers of 0 and more. The score is a logistic function
of their weighted sum (Papke and Wooldridge, "Econometric Methods for Fractional Response
Variables", 1996), with weights fitted to true masks by `python -m bench.divergence`;
docs/quality.md says how well it ranks. No weight is negative: more of a sign never lowers the
score.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from tracker.looks import Look, bent, boxes, unlikeness
from tracker.protocol import Image, LabelMap, Step
from tracker.signs import WEIGHTS, Kind, Sign

Floats = NDArray[np.float32]

_JUMP = np.log(4.0)  # an area that changes fourfold from one frame to the next is surely wrong
_LEAST_STEP = 0.01  # of doubt that a frame adds to what a pass has strayed, at least


def doubt(
    step: Step,
    *,
    previous: LabelMap | None = None,
    agreement: Floats | None = None,
) -> Floats:
    """What one frame alone gives to doubt per object, float32 (N,) in [0, 1]; not calibrated.

    `step`: what is said of the frame. `previous`: label map of the frame before it in the same
    pass, for sudden changes of area. `agreement`: (N,), how far the two passes agree, as
    `fusion.fuse` returns it. Entry i is for object i + 1; 0 is no doubt.

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


def strayed(before: Floats, unsure: Floats) -> Floats:
    """How far a pass has strayed after a frame with the doubts `unsure`, both (N,); 0 at the start.

    Rounded as it is written, so that whoever goes on from a file reckons with the same numbers.
    """
    grown = _padded(before, len(unsure)) + np.maximum(unsure, _LEAST_STEP)
    return np.round(grown.astype(np.float64), 4).astype(np.float32)


def between(forward: Floats, backward: Floats, weight_forward: float, count: int) -> Floats:
    """How far two passes together have strayed, (`count`,): weighed by trust in either."""
    one, other = _padded(forward, count), _padded(backward, count)
    return np.asarray(weight_forward * one + (1.0 - weight_forward) * other, dtype=np.float32)


def gone(before: Floats, unsure: Floats, labels: LabelMap, previous: LabelMap) -> Floats:
    """The doubt with which each absent object vanished, (N,); 0 for those that are there.

    `before`: the same of the last frame, whose label map is `previous`.
    """
    count = len(unsure)
    absent, was = _areas(labels, count) == 0, _areas(previous, count) > 0
    kept = np.where(was, unsure, np.maximum(_padded(before, count), 0))
    return np.round(np.where(absent, kept, 0).astype(np.float64), 4).astype(np.float32)


def signs(
    image: Image,
    step: Step,
    previous: LabelMap,
    *,
    looks: Mapping[int, Look],
    unsure: Floats,
    strayed: Floats,
    gone: Floats,
    distance: Floats,
    agreement: Floats | None = None,
    missed: Floats | None = None,
) -> Floats:
    """What speaks against each object's mask: float32 (N, len(Sign)), entry i for object i + 1.

    `previous`: label map of the frame before in the same pass. `looks`: of the objects on the key
    frame nearest to this one. `unsure`, `strayed`, `gone`: as the functions of these names return
    them. `distance`: frames to that key frame. `agreement`, `missed`: of fused passes, see `Sign`.
    """
    count = len(unsure)
    found = np.zeros((count, len(Sign)), dtype=np.float32)
    found[:, Sign.UNSURE] = unsure
    found[:, Sign.STRAYED] = np.log1p(_padded(strayed, count))
    found[:, Sign.DISTANCE] = np.log1p(_padded(distance, count))
    found[:, Sign.GONE] = _padded(gone, count)
    if agreement is not None:
        found[:, Sign.APART] = 1.0 - _padded(agreement, count)
    if missed is not None:
        found[:, Sign.MISSED] = _padded(missed, count)
    height, width = step.labels.shape
    was = boxes(previous)
    for number, box in boxes(step.labels).items():
        if number > count:
            continue
        row = found[number - 1]
        rows, columns = box
        at_border = rows.start == 0 or columns.start == 0
        row[Sign.BORDER] = at_border or rows.stop == height or columns.stop == width
        if (last := was.get(number)) is not None:
            row[Sign.BENT] = bent(previous, step.labels, number, last, box)
        if number in looks:
            unlike = unlikeness(image, step.labels, number, box, looks[number])
            row[Sign.FADED] = unlike.faded
            row[Sign.UNLIKE] = unlike.unlike
            row[Sign.FOREIGN] = unlike.foreign
            row[Sign.RESIZED] = unlike.resized
            row[Sign.SPLIT] = unlike.split
    return found


def score(found: Floats, kind: Kind) -> Floats:
    """The expected 1 - IoU of each mask, float32 (N,) in [0, 1]. `found`: as `signs` returns it."""
    constant, table = WEIGHTS[kind]
    total = np.full(len(found), constant)
    for sign, (weight, _) in table.items():
        total += weight * found[:, sign].astype(np.float64)
    return np.asarray(1.0 / (1.0 + np.exp(-total)), dtype=np.float32)


def reasons(found: Floats, kind: Kind) -> list[Sign]:
    """Of each mask the sign that speaks most against it, beyond what good masks have of it."""
    _, table = WEIGHTS[kind]
    columns = list(table)
    weights, usual = (np.array([pair[i] for pair in table.values()]) for i in (0, 1))
    return [columns[k] for k in np.argmax(weights * (found[:, columns] - usual), axis=1)]


def _areas(labels: LabelMap, count: int) -> NDArray[np.int64]:
    # Counting what is not background alone takes a fraction of the time.
    return np.bincount(labels[labels > 0], minlength=count + 1)[1 : count + 1]


def _padded(values: Floats, count: int) -> Floats:
    padded = np.zeros(count, dtype=np.float32)
    padded[: len(values)] = values[:count]
    return padded
