"""Promise: a polygon stays within its tolerance of the mask, on both sides, and tolerance 0 gives
the very pixels back."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from numpy.typing import NDArray
from scipy import ndimage
from scipy.spatial import cKDTree

from cvat_io.masks import encode
from cvat_io.model import Mask
from cvat_io.outlines import area_of, pieces_of, polygon_of
from cvat_io.polygons import rasterise

HEIGHT, WIDTH = 60, 80


def blobs(seed: int) -> NDArray[np.bool_]:
    """Blobs with holes and specks, more or less smooth."""
    random = np.random.default_rng(seed)
    noise = random.random((HEIGHT, WIDTH)).astype(np.float32)
    smooth = cv2.GaussianBlur(noise, (0, 0), random.uniform(0.5, 4))
    return np.asarray(smooth > np.quantile(smooth, random.uniform(0.3, 0.9)))


def mask_of(pixels: NDArray[np.bool_]) -> Mask:
    mask = encode(pixels)
    assert mask is not None
    return mask


def along(ring: NDArray[np.float64]) -> NDArray[np.float64]:
    """Points on a closed line, at most 0.2 pixels apart."""
    ahead = np.roll(ring, -1, axis=0)
    return np.concatenate(
        [
            one
            + np.linspace(0, 1, 2 + int(np.hypot(*(other - one)) / 0.2))[:, None] * (other - one)
            for one, other in zip(ring, ahead, strict=True)
        ]
    )


def farthest(points: NDArray[np.float64], others: NDArray[np.float64]) -> float:
    """How far the one of `points` that is farthest from all of `others` is from them."""
    return float(cKDTree(others).query(points)[0].max())


@settings(max_examples=60, deadline=None)
@given(hnp.arrays(np.bool_, hnp.array_shapes(min_dims=2, max_dims=2, max_side=9)))
def test_outlines_are_the_pieces_to_the_pixel(pixels: NDArray[np.bool_]) -> None:
    if not pixels.any():
        return
    height, width = pixels.shape
    numbers, count = ndimage.label(pixels, np.ones((3, 3)))
    expected = [ndimage.binary_fill_holes(numbers == n) for n in range(1, count + 1)]
    found = pieces_of(mask_of(pixels))
    assert [piece.area for piece in found] == sorted((int(e.sum()) for e in expected), reverse=True)
    for piece in found:
        shown = rasterise(piece.outline, height, width)
        assert any(np.array_equal(shown, each) for each in expected)
        assert (piece.outline == piece.outline.round()).all()  # it runs along sides of pixels
        assert np.array_equal(rasterise(polygon_of(piece.outline, 0), height, width), shown)
    _, holes = ndimage.label(ndimage.binary_fill_holes(pixels) & ~pixels)
    assert sum(piece.holes for piece in found) == holes


@pytest.mark.parametrize("tolerance", [0.5, 1.0, 1.5, 3.0, 8.0])
def test_a_polygon_is_never_farther_from_its_outline_than_the_tolerance(tolerance: float) -> None:
    for seed in range(12):
        for piece in pieces_of(mask_of(blobs(seed))):
            polygon = polygon_of(piece.outline, tolerance)
            assert 3 <= len(polygon) <= len(piece.outline)
            ours, theirs = along(polygon), along(piece.outline)
            assert farthest(theirs, ours) <= tolerance + 0.1  # of the points looked at
            assert farthest(ours, theirs) <= tolerance + 0.1
            assert rasterise(polygon, HEIGHT, WIDTH).any()


def test_less_tolerance_costs_corners_and_a_large_one_leaves_few() -> None:
    yy, xx = np.mgrid[:HEIGHT, :WIDTH]
    disc = (yy - 30) ** 2 + (xx - 40) ** 2 < 25**2
    (piece,) = pieces_of(mask_of(disc))
    corners = [len(polygon_of(piece.outline, t)) for t in (0, 0.5, 1, 2, 5)]
    assert corners == sorted(corners, reverse=True)
    assert corners[0] > 60
    assert corners[3] < 16
    assert area_of(piece.outline) == disc.sum()


def test_pixels_that_touch_at_a_corner_are_one_piece() -> None:
    pixels = np.zeros((4, 4), bool)
    pixels[1, 1] = pixels[2, 2] = True
    (piece,) = pieces_of(mask_of(pixels))
    assert piece.area == 2
    assert np.array_equal(rasterise(piece.outline, 4, 4), pixels)


@pytest.mark.parametrize("shape", [(1, 1), (1, 30), (30, 1)])
def test_slivers_keep_pixels_whatever_the_tolerance(shape: tuple[int, int]) -> None:
    (piece,) = pieces_of(mask_of(np.ones(shape, bool)))
    assert rasterise(polygon_of(piece.outline, 50), 40, 40).any()


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 10_000))
def test_polygons_of_smooth_masks_lose_little(seed: int) -> None:
    pixels = ndimage.binary_fill_holes(blobs(seed))
    shown = np.zeros((HEIGHT, WIDTH), bool)
    for piece in pieces_of(mask_of(pixels)):
        shown |= rasterise(polygon_of(piece.outline, 0.5), HEIGHT, WIDTH)
    assert (shown & pixels).sum() / (shown | pixels).sum() > 0.85
