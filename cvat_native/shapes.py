"""Images and shapes between CVAT's terms and ours."""

from __future__ import annotations

import hashlib
import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import cv2
import cvat_sdk.auto_annotation as cvataa
import numpy as np
from cvat_sdk.masks import decode_mask, encode_mask
from numpy.typing import NDArray

from cvat_io.polygons import rasterise
from tracker.protocol import Image

if TYPE_CHECKING:
    from PIL.Image import Image as Picture

Pixels = NDArray[np.bool_]

_FINE = 4  # how many parts of a pixel an outline is drawn in
_TOLERANCE = 0.6  # pixels that a polygon may leave its mask's outline


@dataclass(frozen=True, eq=False)
class Frame:
    """An image as the engines want it, and its hash: a frame is known by what it shows."""

    image: Image
    content: bytes

    @staticmethod
    def of(picture: Picture) -> Frame:
        """`picture` in any mode that Pillow can turn into RGB."""
        image = np.ascontiguousarray(picture.convert("RGB"), dtype=np.uint8)
        return Frame(image, hashlib.blake2b(image.data, digest_size=16).digest())


def pixels_of(shape: Any, height: int, width: int) -> Pixels:
    """The pixels of a mask or a polygon in an image: bool (height, width)."""
    if shape.type == "mask":
        found: Pixels = decode_mask(shape.points, image_width=width, image_height=height)
        return found
    points = np.array(shape.points, dtype=np.float64).reshape(-1, 2)
    return rasterise(points, height, width)


def shape_of(mask: Pixels, kind: str) -> Any:
    """A mask as CVAT's shape of that type; None without a pixel, or where no polygon fits it."""
    if not mask.any():
        return None
    points = encode_mask(mask) if kind == "mask" else outline(mask)
    return cvataa.TrackableShape(type=kind, points=points) if points else None


def outline(mask: Pixels) -> list[float]:
    """A polygon round the largest part of a mask, as x0, y0, x1, y1, ...; holes are lost.

    Drawn along the borders of pixels, within `_TOLERANCE`, in CVAT's coordinates.
    """
    rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
    top, left = int(rows[0]), int(columns[0])
    part = mask[top : int(rows[-1]) + 1, left : int(columns[-1]) + 1].astype(np.uint8)
    fine = part.repeat(_FINE, axis=0).repeat(_FINE, axis=1)
    found, _ = cv2.findContours(fine, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)
    largest = max(found, key=cv2.contourArea)
    line = cv2.approxPolyDP(largest, _TOLERANCE * _FINE, True).reshape(-1, 2)
    if len(line) < 3:
        line = largest.reshape(-1, 2)
    points = (line + 0.5) / _FINE + (left, top)
    return [math.floor(value * 100) / 100 for value in points.ravel().tolist()]
