"""Carrying a label map along the flow."""

from __future__ import annotations

import cv2
import numpy as np

from tracker.propagators.flow.matching import Field
from tracker.protocol import LabelMap

_CROSS = np.ones((3, 3), dtype=np.uint8)


def warp(labels: LabelMap, x: Field, y: Field) -> LabelMap:
    """`labels` (H, W) of the last frame, seen in this one.

    `x`, `y`: float32 (H, W), where every pixel was in the last frame, in pixels.

    Away from borders the nearest pixel's label holds. Near them the four neighbours of the target
    vote with their bilinear weights, which is what thresholding a soft mask per object at one half
    would give, but costs the same for one object or three hundred. What comes from outside the
    frame is taken for what was at the edge: an object that enters goes on entering.
    """
    height, width = labels.shape
    moved = cv2.remap(labels, x, y, cv2.INTER_NEAREST, borderMode=cv2.BORDER_REPLICATE)
    near = cv2.dilate(moved, _CROSS) != cv2.erode(moved, _CROSS)
    where = np.nonzero(near)
    at_x = np.clip(x[where], 0, width - 1)
    at_y = np.clip(y[where], 0, height - 1)
    left, top = np.floor(at_x), np.floor(at_y)
    right_part, low_part = at_x - left, at_y - top

    column, row = left.astype(np.intp), top.astype(np.intp)
    right, low = np.minimum(column + 1, width - 1), np.minimum(row + 1, height - 1)
    corners = np.stack(
        [labels[row, column], labels[row, right], labels[low, column], labels[low, right]]
    )
    weights = np.stack(
        [(1 - right_part) * (1 - low_part), right_part * (1 - low_part),
         (1 - right_part) * low_part, right_part * low_part]
    )  # fmt: skip
    votes = np.stack([(weights * (corners == corner)).sum(axis=0) for corner in corners])
    moved[where] = np.take_along_axis(corners, votes.argmax(axis=0)[None], axis=0)[0]
    return np.asarray(moved)
