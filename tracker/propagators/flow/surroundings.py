"""Where objects may be one frame later: motion is searched nowhere else."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from tracker.protocol import LabelMap

_MARGIN = (0.4, 0.08)  # round the objects: part of their extent, but at least part of the frame's
_GRID = 16  # the part that is looked at begins and ends on such lines


def surroundings(labels: LabelMap) -> tuple[slice, slice]:
    """Rows and columns where the objects of `labels` (H, W, at least one) may be next."""
    most = max(labels.shape)
    rows, columns = (
        _widened(np.nonzero(labels.any(axis=axis))[0], size, most)
        for axis, size in zip((1, 0), labels.shape, strict=True)
    )
    return rows, columns


def _widened(places: NDArray[np.intp], size: int, most: int) -> slice:
    first, stop = int(places[0]), int(places[-1]) + 1
    margin = int(max(_MARGIN[0] * (stop - first), _MARGIN[1] * most))
    low = max(0, first - margin) // _GRID * _GRID
    high = min(size, -(-(stop + margin) // _GRID) * _GRID)
    return slice(low, high)
