"""Promise: of a mask only pieces below the size go and only holes below the size are filled."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from numpy.typing import NDArray
from scipy import ndimage

from tracker.specks import without_holes, without_specks

Pixels = NDArray[np.bool_]
PICTURES = hnp.arrays(np.bool_, hnp.array_shapes(min_dims=2, max_dims=2, min_side=1, max_side=12))


def pieces(pixels: Pixels) -> list[Pixels]:
    """Pieces in reading order, found by another library."""
    numbers, count = ndimage.label(pixels, np.ones((3, 3)))
    found = [numbers == number for number in range(1, count + 1)]
    return sorted(found, key=lambda piece: int(np.flatnonzero(piece)[0]))


def holes(pixels: Pixels) -> list[Pixels]:
    numbers, count = ndimage.label(ndimage.binary_fill_holes(pixels) & ~pixels)
    return [numbers == number for number in range(1, count + 1)]


@given(PICTURES, st.integers(0, 9))
def test_pieces_below_the_size_go_and_the_largest_one_stays(pixels: Pixels, least: int) -> None:
    found = pieces(pixels)
    large = [piece for piece in found if piece.sum() >= least]
    kept = large or sorted(found, key=lambda piece: -int(piece.sum()))[:1]
    cleaned, gone = without_specks(pixels, least)
    assert gone == len(found) - len(kept)
    assert np.array_equal(cleaned, np.any([np.zeros_like(pixels), *kept], axis=0))


@given(PICTURES, PICTURES, st.integers(0, 9))
@example(np.ones((3, 3), bool), np.ones((3, 3), bool), 9)
def test_holes_below_the_size_are_filled_where_nothing_else_lies(
    pixels: Pixels, taken: Pixels, least: int
) -> None:
    free = np.ones_like(pixels)
    common = tuple(slice(min(a, b)) for a, b in zip(free.shape, taken.shape, strict=True))
    free[common] = ~taken[common]
    small = [hole & free for hole in holes(pixels) if hole.sum() < least]
    filled, count = without_holes(pixels, least, free)
    assert count == sum(bool(hole.any()) for hole in small)
    assert np.array_equal(filled, np.any([pixels, *small], axis=0))


@pytest.mark.parametrize("corner", [(0, 0), (0, 4), (4, 0), (4, 4)])
def test_what_touches_at_a_corner_is_one_piece_and_two_holes(corner: tuple[int, int]) -> None:
    pixels = np.zeros((6, 6), bool)
    pixels[1:5, 1:5] = True
    pixels[corner] = True
    joined = {(0, 0): (1, 1), (0, 4): (1, 4), (4, 0): (4, 1), (4, 4): (4, 4)}[corner]
    assert pixels[joined]
    assert without_specks(pixels, 5)[1] == 0
    two = np.ones((5, 5), bool)
    two[1, 1] = two[2, 2] = two[3, 3] = False
    assert without_holes(two, 2, np.ones_like(two))[1] == 3
