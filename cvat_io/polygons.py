"""Polygons as pixels, by the rule that CVAT itself goes by."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from pycocotools import mask as coco


def rasterise(points: NDArray[np.float64], height: int, width: int) -> NDArray[np.bool_]:
    """The pixels of a polygon: bool (height, width).

    `points`: float64 (K, 2), K >= 3, as (x, y) in CVAT's coordinates; what lies outside of the
    image is cut off.

    The rules of "CVAT for video 1.1" do not say which pixels a polygon has. Where CVAT's server
    needs them, as for its export of segmentation masks, it takes COCO's rule: its converter
    (datumaro, `mask_tools.rles_to_mask`) gives the points as they are to pycocotools, as for COCO
    1.0 (section 8 of the format's rules). So it is called here in the same way, which makes it
    the same pixels, and no rule of ours.
    """
    pixels: NDArray[np.bool_] = coco.decode(_runs(points, height, width)).astype(np.bool_)
    return pixels


def has_pixels(points: NDArray[np.float64], height: int, width: int) -> bool:
    """Whether `rasterise` would give any pixel; quicker, and without a picture in memory."""
    return bool(coco.area(_runs(points, height, width)))


def _runs(points: NDArray[np.float64], height: int, width: int) -> Any:
    return coco.merge(coco.frPyObjects([points.ravel().tolist()], height, width))
