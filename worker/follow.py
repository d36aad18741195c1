"""Follows objects from one key frame to the next through masks that are there already.

Used where no pass runs between two key frames and so none says which object is which. Works on
run lengths, two frames at a time: cost grows with the masks that overlap, not with the image.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import linear_sum_assignment

from cvat_io.defaults import Defaults
from cvat_io.masks import iou
from cvat_io.model import MaskShape
from jobs.sheet import name_of
from tracker.identity import MIN_IOU


def follow(frames: Iterable[Sequence[MaskShape]], defaults: Defaults) -> dict[int, int]:
    """Map k on the last frame to k on the first, for masks that show the same object.

    `frames`: the tracked masks of consecutive frames, those of a key frame at either end. An
    object that is missing for a while is looked for where it was last.
    """
    known: list[MaskShape] = []  # every object where it was last
    ends: dict[int, int] = {}
    first = 0
    for number, shapes in enumerate(frames):
        found = _continuations(known, shapes, defaults)
        ends = {}
        for k, shape in enumerate(shapes):
            place = found.get(k, len(known))
            if place == len(known):
                known.append(shape)
            known[place] = shape
            ends[k] = place
        if number == 0:
            first = len(known)
    return {k: place for k, place in ends.items() if place < first}


def _continuations(
    known: Sequence[MaskShape], shapes: Sequence[MaskShape], defaults: Defaults
) -> dict[int, int]:
    """Index in `shapes` -> index in `known`, so that the sum of IoU is largest (Kuhn 1955).

    As at a key frame that a pass meets (`tracker.identity`): objects of two labels or of two
    names never match, nor such that hardly overlap.
    """
    if not known or not shapes:
        return {}
    gain = np.zeros((len(shapes), len(known)))
    for i, j in np.argwhere(_touching(shapes, known)).tolist():
        if _may_be_same(shapes[i], known[j], defaults):
            gain[i, j] = iou(shapes[i].mask, known[j].mask)
    gain[gain < MIN_IOU] = 0.0
    rows, columns = linear_sum_assignment(gain, maximize=True)
    pairs = zip(rows.tolist(), columns.tolist(), strict=True)
    return {i: j for i, j in pairs if gain[i, j] > 0}


def _may_be_same(a: MaskShape, b: MaskShape, defaults: Defaults) -> bool:
    names = {name_of(defaults.set_of(shape)) for shape in (a, b)} - {""}
    return a.label == b.label and len(names) < 2


def _touching(a: Sequence[MaskShape], b: Sequence[MaskShape]) -> NDArray[np.bool_]:
    """Whose boxes overlap, (len(a), len(b))."""
    one, two = _boxes(a)[:, None], _boxes(b)[None, :]
    low, high = np.maximum(one[..., :2], two[..., :2]), np.minimum(one[..., 2:], two[..., 2:])
    return np.asarray((low < high).all(axis=-1))


def _boxes(shapes: Sequence[MaskShape]) -> NDArray[np.int64]:
    masks = [shape.mask for shape in shapes]
    return np.array(
        [(m.left, m.top, m.left + m.width, m.top + m.height) for m in masks], dtype=np.int64
    )
