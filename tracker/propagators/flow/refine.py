"""Borders after the warp: laid along the edges of the picture, in doubt after the key's colours.

Edge-aware filter: He et al., "Guided Image Filtering" (ECCV 2010), with colour guidance; at reduced
size for large pictures as in He and Sun, "Fast Guided Filter" (arXiv 1505.00996).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import overload

import cv2
import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import find_objects

from tracker.propagators.flow.colours import Colours, cells
from tracker.propagators.flow.matching import floats
from tracker.protocol import Image, LabelMap

_PIXELS = 600_000  # larger pictures are filtered at a whole fraction of their size
_BAND = 6  # pixels (of the filtered size) on both sides of a border that may change
_SMOOTH = 1e-4  # variance of the guide (of [0, 1] values) that counts as flat
_SOFT = 0.7  # blur of a border whose match is sure, pixels
_BAD_GAP = 3.0  # a match that misses by so many pixels says nothing
_COLOUR_WEIGHT = 0.5  # of the log odds by colour, which hold for whole objects, not for borders
_WIDE = 2  # how much wider than the band a border in doubt is blurred
_EXPLAINED = 0.1  # share of a border that colours must explain for the filter to act fully
_FLAT = 1e-3  # variance of a mask (0 to 1) that counts as no border at all
_NEAR = 1e-3  # a prior comes no nearer to 0 and 1

Field = NDArray[np.float32]


def refine(moved: LabelMap, image: Image, gap: Field, known: Mapping[int, Colours]) -> LabelMap:
    """`moved` (H, W) with every object's border set right by `image` (H, W, 3).

    An object's prior is its warped mask, blurred a little; where the flow contradicts itself
    (`gap`, pixels, (H, W)) blurred much, so that the colours of the key frame (`known`, see
    `colours.learn`; objects without one go by shape alone) and the edges of the picture decide.
    Objects compete pixel by pixel; the largest share wins, background having what they leave.

    Work per object is in its own box, and the guide's statistics are shared by all, so that the
    cost follows the pixels that objects cover, not their number times the frame.
    """
    labels = np.zeros_like(moved)
    shrink = int(np.ceil((moved.size / _PIXELS) ** 0.5))
    around = _surroundings(moved, (4 * _BAND + 1) * shrink, shrink)
    if around is None:
        return labels
    labels[around] = _compete(moved[around], image[around], gap[around], known, shrink)
    return labels


def _compete(
    moved: LabelMap, image: Image, gap: Field, known: Mapping[int, Colours], shrink: int
) -> LabelMap:
    height, width = moved.shape
    shrunk = _shrunk(image, shrink)
    guide, colour = _Guide(shrunk), cells(shrunk)
    rough = floats(np.clip(_shrunk(gap, shrink) / _BAD_GAP, 0, 1))

    owner = moved[::shrink, ::shrink]  # objects at the shrunk size
    doubtful = gap >= _BAD_GAP
    best = np.zeros((height, width), dtype=np.float32)
    taken = np.zeros((height, width), dtype=np.float32)
    labels = np.zeros_like(moved)
    for number, box in enumerate(find_objects(moved), start=1):
        if box is None:
            continue
        area = np.count_nonzero(moved[box] == number) / shrink**2
        reach = int(np.clip(area**0.5 / 4, 1, _BAND))  # small objects bear small changes only
        small = _window(box, 4 * reach, shrink, colour.shape)
        large = np.s_[
            small[0].start * shrink : min(height, small[0].stop * shrink),
            small[1].start * shrink : min(width, small[1].stop * shrink),
        ]
        mask = (moved[large] == number).astype(np.uint8)
        doubt = rough[small]
        prior = _prior(_shrunk(mask.astype(np.float32), shrink), doubt, reach)
        if number in known:
            # What another object has laid bare is often this one's: there colour counts more.
            bare = (owner[small] != 0) & (owner[small] != number)
            weight = _COLOUR_WEIGHT * (1 + doubt * bare)
            prior = _weighed(prior, weight * known[number].odds[colour[small]])
        share = guide.smooth(prior, small, reach, image[large], shrink)
        square = np.ones((2 * reach * shrink + 1,) * 2, dtype=np.uint8)
        sure = doubtful[large] == 0
        share[sure & (cv2.erode(mask, square) > 0)] = 1.0
        share[(sure | (moved[large] == 0)) & (cv2.dilate(mask, square) == 0)] = 0.0

        wins = share > best[large]
        best[large][wins] = share[wins]
        labels[large][wins] = number
        taken[large] += share
    labels[best < 1.0 - taken] = 0
    return labels


def _surroundings(labels: LabelMap, margin: int, grid: int) -> tuple[slice, slice] | None:
    """The box round all objects, `margin` wider, begun on multiples of `grid`; None without any."""
    boxes = find_objects((labels > 0).astype(np.uint8))
    if not boxes:
        return None
    rows, columns = (
        slice(max(0, side.start - margin) // grid * grid, side.stop + margin) for side in boxes[0]
    )
    return rows, columns


def _prior(mask: Field, rough: Field, reach: int) -> Field:
    fine = cv2.GaussianBlur(mask, (0, 0), _SOFT)
    coarse = _box(_box(mask, _WIDE * reach), _WIDE * reach)
    return floats(fine + (coarse - fine) * rough)


def _weighed(prior: Field, odds: Field) -> Field:
    """Posterior from a prior and log odds."""
    prior = np.clip(prior, _NEAR, 1 - _NEAR)
    against = (1 - prior) / prior * np.exp(-odds)
    return floats(1 / (1 + against))


@overload
def _shrunk(field: Image, shrink: int) -> Image: ...
@overload
def _shrunk(field: Field, shrink: int) -> Field: ...
def _shrunk(field: Image | Field, shrink: int) -> Image | Field:
    """Means of blocks of `shrink` x `shrink` pixels, the last ones filled up by repetition."""
    if shrink == 1:
        return field
    height, width = field.shape[:2]
    down, right = -height % shrink, -width % shrink
    filled = cv2.copyMakeBorder(field, 0, down, 0, right, cv2.BORDER_REPLICATE)
    size = (width + right) // shrink, (height + down) // shrink
    small = cv2.resize(filled, size, interpolation=cv2.INTER_AREA)
    return floats(small) if field.dtype == np.float32 else np.asarray(small, dtype=np.uint8)


def _window(
    box: tuple[slice, slice], margin: int, shrink: int, limits: tuple[int, int]
) -> tuple[slice, slice]:
    """`box` (full size) as slices of the shrunk picture, `margin` shrunk pixels wider."""
    rows, columns = (
        slice(
            max(0, side.start // shrink - margin),
            min(limit, -(-side.stop // shrink) + margin),
        )
        for side, limit in zip(box, limits, strict=True)
    )
    return rows, columns


class _Guide:
    """A picture's part of the guided filter; per radius computed once, for all objects."""

    def __init__(self, image: Image) -> None:
        self._planes = [floats(plane) for plane in cv2.split(image.astype(np.float32) / 255)]
        self._by_radius: dict[int, _Statistics] = {}

    def smooth(
        self, field: Field, window: tuple[slice, slice], radius: int, full: Image, shrink: int
    ) -> Field:
        """`field` (on `window`) laid along the edges of the picture, at the size of `full`."""
        if radius not in self._by_radius:
            self._by_radius[radius] = _statistics(self._planes, radius)
        means, inverse = self._by_radius[radius]
        planes = [plane[window] for plane in self._planes]
        means = [mean[window] for mean in means]
        level = _box(field, radius)
        x, y, z = (
            _box(plane * field, radius) - mean * level
            for plane, mean in zip(planes, means, strict=True)
        )
        xx, xy, xz, yy, yz, zz = (part[window] for part in inverse)
        slopes = [xx * x + xy * y + xz * z, xy * x + yy * y + yz * z, xz * x + yz * y + zz * z]
        offset = level - sum(slope * mean for slope, mean in zip(slopes, means, strict=True))
        # Where colours do not explain the field (a flat or muddled place), the filter would only
        # round off its shape, a little more at every frame: there the field stays as it is.
        explained = slopes[0] * x + slopes[1] * y + slopes[2] * z
        variance = _box(field * field, radius) - level * level
        trust = floats(np.clip(explained / (variance + _FLAT) / _EXPLAINED, 0, 1))
        lines = [_box(part, radius) for part in (*slopes, offset, trust)] + [field]
        if shrink > 1:
            size = field.shape[1] * shrink, field.shape[0] * shrink
            inside = np.s_[: full.shape[0], : full.shape[1]]
            lines = [
                floats(cv2.resize(line, size, interpolation=cv2.INTER_LINEAR)[inside])
                for line in lines
            ]
            planes = [floats(plane) for plane in cv2.split(full.astype(np.float32) / 255)]
        *slopes, offset, trust, field = lines
        share = offset + sum(slope * plane for slope, plane in zip(slopes, planes, strict=True))
        return floats(field + trust * (np.clip(share, 0, 1) - field))


_Statistics = tuple[list[Field], list[Field]]


def _statistics(planes: list[Field], radius: int) -> _Statistics:
    """Means of the three colours, and the inverse (upper half) of their regularised covariance."""
    r, g, b = planes
    mr, mg, mb = means = [_box(plane, radius) for plane in planes]
    rr = _box(r * r, radius) - mr * mr + _SMOOTH
    gg = _box(g * g, radius) - mg * mg + _SMOOTH
    bb = _box(b * b, radius) - mb * mb + _SMOOTH
    rg = _box(r * g, radius) - mr * mg
    rb = _box(r * b, radius) - mr * mb
    gb = _box(g * b, radius) - mg * mb
    xx, xy, xz = gg * bb - gb * gb, rb * gb - rg * bb, rg * gb - rb * gg
    yy, yz, zz = rr * bb - rb * rb, rb * rg - rr * gb, rr * gg - rg * rg
    scale = 1 / (rr * xx + rg * xy + rb * xz)
    return means, [part * scale for part in (xx, xy, xz, yy, yz, zz)]


def _box(field: Field, radius: int) -> Field:
    side = 2 * radius + 1
    return floats(cv2.blur(field, (side, side), borderType=cv2.BORDER_REFLECT))
