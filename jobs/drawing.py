"""Pixels of pictures: any image as RGB, and masks drawn into a scaled one."""

from __future__ import annotations

import numpy as np
import PIL.Image
from numpy.typing import NDArray

from cvat_io.masks import decode
from cvat_io.model import Mask

Pixels = NDArray[np.uint8]
_TINT = 0.45  # of a mask's colour over the picture


def rgb(picture: PIL.Image.Image) -> PIL.Image.Image:
    """Return an image as RGB; alpha is dropped, 16-bit grey keeps its upper byte."""
    if picture.mode.startswith("I;16") or picture.mode == "I":
        grey = np.clip(np.asarray(picture) >> 8, 0, 255).astype(np.uint8)
        return PIL.Image.fromarray(grey).convert("RGB")
    if picture.mode == "P":
        picture.info.pop("transparency", None)
    return picture.convert("RGB")


def draw_mask(pixels: Pixels, mask: Mask, colour: str, whole: tuple[int, int]) -> None:
    """Tint a mask's pixels in a scaled picture (h, w, 3) and outline it.

    `colour`: `#rrggbb`. `whole`: width and height of the frame that the mask belongs to.
    """
    high, wide = pixels.shape[:2]
    across, down = wide / whole[0], high / whole[1]
    x0, y0 = int(mask.left * across), int(mask.top * down)
    x1 = min(wide, max(x0 + 1, -int(-(mask.left + mask.width) * across // 1)))
    y1 = min(high, max(y0 + 1, -int(-(mask.top + mask.height) * down // 1)))
    if x1 <= x0 or y1 <= y0:
        return
    box = (x0 / across - mask.left, y0 / down - mask.top,
           x1 / across - mask.left, y1 / down - mask.top)  # fmt: skip
    # The box of whole pixels reaches beyond the mask's by less than one: it is padded first.
    padded = np.pad(decode(mask).astype(np.uint8) * 255, _pads(mask.width, mask.height, box))
    left, top = max(0, -int(box[0] // 1)), max(0, -int(box[1] // 1))
    shifted = (box[0] + left, box[1] + top, box[2] + left, box[3] + top)
    small = PIL.Image.fromarray(padded).resize(
        (x1 - x0, y1 - y0), PIL.Image.Resampling.BOX, box=shifted
    )
    cover = np.asarray(small, dtype=np.float32) / 255
    view = pixels[y0:y1, x0:x1]
    tint = np.array([int(colour[i : i + 2], 16) for i in (1, 3, 5)], dtype=np.float32)
    inside = np.pad(cover >= 0.5, 1)
    inner = inside[:-2, 1:-1] & inside[2:, 1:-1] & inside[1:-1, :-2] & inside[1:-1, 2:]
    weight = np.where(inside[1:-1, 1:-1] & ~inner, 1.0, cover * _TINT)[..., None]
    view[:] = (view * (1 - weight) + tint * weight + 0.5).astype(np.uint8)


def _pads(width: int, height: int, box: tuple[float, ...]) -> tuple[tuple[int, int], ...]:
    """How many empty pixels have to surround a mask so that `box` lies inside."""
    return (
        (max(0, -int(box[1] // 1)), max(0, -int(-box[3] // 1) - height)),
        (max(0, -int(box[0] // 1)), max(0, -int(-box[2] // 1) - width)),
    )
