"""Specks and pin-holes go where masks become the result, not where they are computed.

Passes go on from what they found, so a span's file keeps every pixel: whoever goes on with a span
need not know what the run cleans. What is cleaned here is what CVAT gets and gives back, so that a
re-segmentation does not take cleaned masks for edited ones. Masks of a human and masks that are
carried over are never cleaned, and none of their pixels is ever filled.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from cvat_io.masks import decode, encode, without
from cvat_io.model import Mask
from tracker.specks import without_holes, without_specks


class Cleaner:
    """Cleans the masks of a result, frame by frame, and counts what it did."""

    def __init__(self, min_speck: int, min_hole: int) -> None:
        """Pixels from which on a piece stays and a hole stays open; 0: nothing goes."""
        self._min_speck = min_speck
        self._min_hole = min_hole
        self.specks = 0  # removed so far
        self.holes = 0  # filled so far

    def clean(self, made: Sequence[Mask], others: Sequence[Mask]) -> list[Mask]:
        """The masks `made` on one frame, cleaned; `others` are all that are there beside them.

        First all specks go, then holes are filled in the order of the masks, so that a hole in
        which only another object's speck lay can be filled.
        """
        done = list(made)
        if self._min_speck > 1:
            done = [self._without_specks(mask) for mask in done]
        if self._min_hole > 1:
            for k, mask in enumerate(done):
                done[k] = self._without_holes(mask, [*others, *done[:k], *done[k + 1 :]])
        return done

    def _without_specks(self, mask: Mask) -> Mask:
        pixels, gone = without_specks(decode(mask), self._min_speck)
        if not gone:
            return mask
        self.specks += gone
        return _encoded(mask, pixels)

    def _without_holes(self, mask: Mask, others: Sequence[Mask]) -> Mask:
        whole = np.array([0, mask.width * mask.height], dtype=np.int32)
        box = Mask(mask.left, mask.top, mask.width, mask.height, whole)
        room = without(box, others)
        if room is None:
            return mask
        free = np.zeros((mask.height, mask.width), dtype=np.bool_)
        left, top = room.left - mask.left, room.top - mask.top
        free[top : top + room.height, left : left + room.width] = decode(room)
        pixels, filled = without_holes(decode(mask), self._min_hole, free)
        if not filled:
            return mask
        self.holes += filled
        return _encoded(mask, pixels)


def _encoded(mask: Mask, pixels: np.ndarray[tuple[int, ...], np.dtype[np.bool_]]) -> Mask:
    found = encode(pixels, mask.left, mask.top)
    assert found is not None  # the largest piece stays
    return found
