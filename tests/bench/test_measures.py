"""Promise: J and F are those of the DAVIS benchmark, to be compared with published figures."""

from __future__ import annotations

import math

import numpy as np
import pytest
from numpy.typing import NDArray

from bench.measures import Pixels, boundary, contour, region, tolerance

HEIGHT, WIDTH = 120, 160  # diagonal 200: boundaries may lie 2 pixels apart


def box(top: int, left: int, height: int, width: int) -> Pixels:
    mask = np.zeros((HEIGHT, WIDTH), dtype=np.bool_)
    mask[top : top + height, left : left + width] = True
    return mask


NOTHING = box(0, 0, 0, 0)
ALL = box(0, 0, HEIGHT, WIDTH)
SQUARE = box(40, 50, 20, 20)


def test_the_tolerance_is_a_share_of_the_diagonal_rounded_up() -> None:
    assert tolerance(HEIGHT, WIDTH) == 2  # 1.6
    assert tolerance(480, 854) == 8  # 7.84
    assert tolerance(600, 800) == 8  # 8 exactly


@pytest.mark.parametrize("mask", [SQUARE, ALL, NOTHING, box(0, 0, 30, 30), box(119, 159, 1, 1)])
def test_a_mask_is_like_itself(mask: Pixels) -> None:
    assert region(mask, mask) == 1
    assert contour(mask, mask) == 1


@pytest.mark.parametrize("mask", [SQUARE, box(0, 0, 30, 30), box(60, 60, 1, 1)])
def test_nothing_is_unlike_something(mask: Pixels) -> None:
    for pair in ((mask, NOTHING), (NOTHING, mask)):
        assert region(*pair) == 0
        assert contour(*pair) == 0


def test_what_lies_apart_has_nothing_in_common() -> None:
    far = box(80, 120, 20, 20)
    assert region(SQUARE, far) == 0
    assert contour(SQUARE, far) == 0


def test_region_of_a_shifted_square_is_as_by_hand() -> None:
    # 20 x 20 shifted by 5: common 15 x 20 = 300, together 500.
    assert region(SQUARE, box(40, 55, 20, 20)) == pytest.approx(0.6)
    # In both directions: common 15 x 15 = 225, together 575.
    assert region(SQUARE, box(45, 55, 20, 20)) == pytest.approx(225 / 575)


@pytest.mark.parametrize("shift", [0, 1, 2])
def test_a_boundary_within_the_tolerance_is_right(shift: int) -> None:
    assert contour(SQUARE, box(40 + shift, 50, 20, 20)) == 1
    assert contour(SQUARE, box(40, 50 + shift, 20, 20)) == 1


def test_a_boundary_beyond_the_tolerance_is_wrong_there_only() -> None:
    # Shifted down by 3: what is more than 2 from the other boundary does not match, about two
    # sides of four; the upright sides lie on one another.
    found = contour(SQUARE, box(43, 50, 20, 20))
    assert 0.4 < found < 0.7
    assert contour(SQUARE, box(43, 53, 20, 20)) < found


def test_the_tolerance_is_a_disk_and_no_square() -> None:
    # One pixel each: the boundary is 2 x 2. Shifted by (3, 3), the nearest pixels lie at (2, 2),
    # 2.8 pixels apart; shifted by (3, 0) they lie 2 apart.
    one = box(60, 60, 1, 1)
    assert contour(one, box(63, 63, 1, 1)) == 0 < contour(one, box(63, 60, 1, 1))
    # ... and there the far half of either boundary is 3 and more apart.
    assert contour(one, box(63, 60, 1, 1)) == pytest.approx(0.5)


def test_precision_and_recall_are_taken_together_harmonically() -> None:
    # Ours: the square and another one far off, so half of our boundary is right, all of theirs is
    # met: 2 * 0.5 * 1 / 1.5.
    ours = SQUARE | box(80, 120, 20, 20)
    assert contour(ours, SQUARE) == pytest.approx(2 / 3)
    assert contour(SQUARE, ours) == pytest.approx(2 / 3)


def by_the_letter(found: Pixels, drawn: Pixels) -> float:
    """F, pixel by pixel, for masks that have a boundary."""
    height, width = found.shape

    def edge(mask: Pixels) -> NDArray[np.int64]:
        at = [
            (y, x)
            for y in range(height)
            for x in range(width)
            for other in ((y, x + 1), (y + 1, x), (y + 1, x + 1))
            if mask[y, x] != mask[min(other[0], height - 1), min(other[1], width - 1)]
        ]
        return np.array(sorted(set(at)))

    ours, theirs = edge(found), edge(drawn)
    squares = ((ours[:, None] - theirs[None]) ** 2).sum(axis=2)
    near = squares <= math.ceil(0.008 * math.sqrt(height**2 + width**2)) ** 2
    precision, recall = near.any(axis=1).mean(), near.any(axis=0).mean()
    total = precision + recall
    return float(2 * precision * recall / total) if total else 0.0


@pytest.mark.parametrize("seed", range(6))
def test_contour_is_the_definition_spelled_out_pixel_by_pixel(seed: int) -> None:
    random = np.random.default_rng(seed)
    y, x = np.mgrid[:HEIGHT, :WIDTH]
    masks = []
    middle = random.uniform(0.2, 0.8, 2) * (HEIGHT, WIDTH)  # the border cuts some of them
    for _ in range(2):
        top, left = middle + random.normal(0, 4, 2)
        radius = 30 + random.normal(0, 2, (HEIGHT, WIDTH))
        masks.append((y - top) ** 2 + (x - left) ** 2 < radius**2)
    assert 0 < contour(*masks) < 1
    assert contour(*masks) == pytest.approx(by_the_letter(*masks))


def test_a_boundary_is_one_pixel_wide_at_the_upper_left_side_of_a_change() -> None:
    edge = boundary(box(60, 60, 1, 1))
    assert {tuple(p) for p in np.argwhere(edge).tolist()} == {
        (59, 59),
        (59, 60),
        (60, 59),
        (60, 60),
    }
    edge = boundary(box(40, 50, 20, 20))
    ring = np.zeros_like(edge)
    ring[39:60, 49:70] = True
    ring[40:59, 50:69] = False
    assert np.array_equal(edge, ring)


def test_the_image_border_is_no_boundary() -> None:
    assert not boundary(ALL).any()
    assert not boundary(NOTHING).any()
    lower_right = boundary(box(110, 150, 10, 10))
    assert lower_right.sum() == 10 + 11  # above it, left of it, and the corner once
    assert boundary(box(110, 150, 10, 10))[119, 149]
    assert boundary(box(0, 0, 10, 10)).sum() == 10 + 9


def test_an_object_that_fills_the_image_has_no_boundary_to_miss() -> None:
    assert contour(ALL, SQUARE) == 0
    assert region(ALL, SQUARE) == pytest.approx(400 / (HEIGHT * WIDTH))
    # As published: two masks without a boundary are alike to F, and J tells them apart.
    assert contour(ALL, NOTHING) == 1
    assert region(ALL, NOTHING) == 0


def test_objects_at_the_border_are_scored_by_what_is_seen_of_them() -> None:
    corner = box(100, 140, 20, 20)
    assert region(corner, box(105, 140, 15, 20)) == pytest.approx(0.75)
    assert contour(corner, box(101, 141, 19, 19)) == 1  # 1 further in, 1.4 at the corner
    assert contour(corner, box(106, 146, 14, 14)) == 0  # 6 further in: far from all of it


def test_one_pixel_objects_match_within_the_tolerance() -> None:
    one = box(60, 60, 1, 1)
    assert region(one, box(61, 60, 1, 1)) == 0
    assert contour(one, box(61, 60, 1, 1)) == 1
    assert contour(one, box(90, 60, 1, 1)) == 0
