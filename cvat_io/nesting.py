"""What lies in a hole: the z-orders by which polygons, which have no holes, leave it to be seen."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from cvat_io.masks import decode
from cvat_io.model import MaskShape
from cvat_io.outlines import Piece
from cvat_io.polygons import rasterise

_HIGHEST = 2**31 - 1  # that CVAT's database holds

Drawn = tuple[MaskShape, Piece]
"""A piece of a mask, and the mask."""


def z_orders(drawn: Sequence[Drawn]) -> list[int]:
    """The z-order of each polygon of one frame, so that what is in a hole lies on what is round it.

    As long as nothing lies in a hole of another mask these are the masks' own. Else a polygon in a
    hole comes one higher than what is round it, and those that a person put above that stay above.
    """
    under = _under(drawn)
    levels = [shape.z_order for shape, _ in drawn]
    if not any(under):
        return levels
    depths = [0] * len(drawn)
    for inner in _largest_first(drawn):
        levels[inner] = max(levels[number] for number in (inner, *under[inner]))
        depths[inner] = max(
            (depths[outer] + 1 for outer in under[inner] if levels[outer] == levels[inner]),
            default=0,
        )
    found = list(levels)
    free = min(levels)
    for level in sorted(set(levels)):
        there = [number for number, own in enumerate(levels) if own == level]
        base = max(level, free)
        for number in there:
            found[number] = min(base + depths[number], _HIGHEST)
        free = base + max(depths[number] for number in there) + 1
    return found


def _under(drawn: Sequence[Drawn]) -> list[list[int]]:
    """For each piece those in a hole of which it lies: of other masks, and larger ones."""
    under: list[list[int]] = [[] for _ in drawn]
    if not any(piece.holes for _, piece in drawn):
        return under
    boxes = np.array(
        [[*p.outline.min(axis=0), *-p.outline.max(axis=0)] for _, p in drawn], dtype=np.int64
    )
    waiting = _largest_first(drawn)
    for at, outer in enumerate(waiting):
        shape, piece = drawn[outer]
        if not piece.holes:
            continue
        smaller = np.array(waiting[at + 1 :], dtype=np.int64)
        inside = smaller[(boxes[smaller] >= boxes[outer]).all(axis=1)].tolist()
        others = [number for number in inside if drawn[number][0] is not shape]
        if not others:
            continue
        left, top = boxes[outer, :2]
        filled = _filled(piece)
        solid = _pixels(shape, piece, filled)
        for number in others:
            x, y = boxes[number, :2] - (left, top)
            inner, within = drawn[number]
            pixels = _pixels(inner, within, _filled(within))
            part = np.s_[y : y + pixels.shape[0], x : x + pixels.shape[1]]
            if filled[part][pixels].all() and not solid[part][pixels].all():
                under[number].append(outer)
    return under


def _largest_first(drawn: Sequence[Drawn]) -> list[int]:
    return sorted(range(len(drawn)), key=lambda number: -drawn[number][1].area)


def _filled(piece: Piece) -> NDArray[np.bool_]:
    """What a piece's outline encloses: bool, as large as the outline's box."""
    left, top = piece.outline.min(axis=0)
    width, height = piece.outline.max(axis=0) - (left, top)
    return rasterise(piece.outline - (left, top), int(height), int(width))


def _pixels(shape: MaskShape, piece: Piece, filled: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """The mask's own pixels of what a piece's outline encloses: bool, as large as `filled`."""
    left, top = piece.outline.min(axis=0).astype(int) - (shape.mask.left, shape.mask.top)
    height, width = filled.shape
    return filled & decode(shape.mask)[top : top + height, left : left + width]
