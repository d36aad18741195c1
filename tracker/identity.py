"""Which of a key frame's masks continue which objects of the pass that arrives there."""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Mapping

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import linear_sum_assignment

from tracker.protocol import LabelMap

MIN_IOU = 0.1


def match(
    predicted: LabelMap,
    drawn: LabelMap,
    *,
    predicted_kinds: Mapping[int, Hashable],
    drawn_kinds: Mapping[int, Hashable],
    predicted_names: Mapping[int, str],
    drawn_names: Mapping[int, str],
    min_iou: float = MIN_IOU,
) -> dict[int, int]:
    """Drawn number -> predicted number, one to one, for those that are the same object.

    `predicted`, `drawn`: label maps (H, W) of one frame: what the pass says, what the human drew.
    `*_kinds`: the kind (label) of every object to consider; objects of two kinds never match, and
    an object may be in no pixel (it can still match by name). `*_names`: names that a human gave;
    leave out (or leave empty) objects without one.

    Equal names match first, wherever the masks lie. Two different names never match. The rest is
    assigned so that the sum of IoU is largest, pairs under `min_iou` left out.
    """
    left = sorted(drawn_kinds)
    right = sorted(predicted_kinds)
    if not left or not right:
        return {}
    overlap = iou_table(drawn, left, predicted, right)
    same_kind = _equal([drawn_kinds[n] for n in left], [predicted_kinds[n] for n in right])
    left_names = [drawn_names.get(n, "") for n in left]
    right_names = [predicted_names.get(n, "") for n in right]
    named = np.array([bool(n) for n in left_names])[:, None] & np.array(
        [bool(n) for n in right_names]
    )
    same_name = named & _equal(left_names, right_names)

    # A name that occurs once on each side decides alone; where it repeats, overlap tells apart.
    pairs = _assign(overlap + 1.0, same_kind & same_name)
    rest = same_kind & ~named & (overlap >= min_iou) & (overlap > 0)
    rest[[i for i, _ in pairs], :] = False
    rest[:, [j for _, j in pairs]] = False
    pairs += _assign(overlap, rest)
    return {left[i]: right[j] for i, j in sorted(pairs)}


def iou_table(
    a: LabelMap, a_numbers: Iterable[int], b: LabelMap, b_numbers: Iterable[int]
) -> NDArray[np.float64]:
    """IoU of every object of `a` with every object of `b`, shape (len(a_numbers), len(b_numbers)).

    `a`, `b`: label maps (H, W) of one size. One pass over the pixels, however many objects.
    """
    rows, row_of = _lookup(a_numbers)
    columns, column_of = _lookup(b_numbers)
    width = columns + 1
    cells = row_of[a].ravel() * width + column_of[b].ravel()
    counts = np.bincount(cells, minlength=(rows + 1) * width).reshape(rows + 1, width)
    both = counts[1:, 1:].astype(np.float64)
    union = counts.sum(axis=1)[1:, None] + counts.sum(axis=0)[None, 1:] - both
    return np.asarray(np.divide(both, union, out=np.zeros_like(both), where=union > 0))


def _lookup(numbers: Iterable[int]) -> tuple[int, NDArray[np.int64]]:
    """How many numbers, and a table from label to 1 + its place; labels not listed go to 0."""
    listed = np.fromiter(numbers, dtype=np.int64)
    table = np.zeros(65536, dtype=np.int64)
    table[listed] = np.arange(1, len(listed) + 1)
    return len(listed), table


def _equal(a: list[Hashable] | list[str], b: list[Hashable] | list[str]) -> NDArray[np.bool_]:
    place: dict[Hashable, int] = {}
    left = np.array([place.setdefault(x, len(place)) for x in a])
    right = np.array([place.setdefault(x, len(place)) for x in b])
    return np.asarray(left[:, None] == right[None, :])


def _assign(gain: NDArray[np.float64], allowed: NDArray[np.bool_]) -> list[tuple[int, int]]:
    """Pairs (row, column) among `allowed` whose gains have the largest sum (Kuhn 1955)."""
    rows, columns = linear_sum_assignment(np.where(allowed, gain, 0.0), maximize=True)
    return [(int(i), int(j)) for i, j in zip(rows, columns, strict=True) if allowed[i, j]]
