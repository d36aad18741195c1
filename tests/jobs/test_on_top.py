"""Promise: what a person draws over masks that stay is on top where its z-order says so, and where
most of it would be covered that is told."""

from __future__ import annotations

from dataclasses import replace

import pytest

from cvat_io.model import MaskShape
from tests.jobs.test_compare import box, compared

CAR = (box(0, side=20), 1)
HEAD = box(4, 4, side=6, label="bus")


@pytest.mark.parametrize(
    ("heights", "drawn", "below", "told"),
    [
        ((0, 1), HEAD, {1}, "lies on top of object 1, by its z-order"),
        ((2, 3), HEAD, {1}, "lies on top of object 1, by its z-order"),
        ((0, 0), HEAD, set(), "lies on object 1"),
        ((1, 0), HEAD, set(), "lies on object 1"),
        ((0, 1), replace(HEAD, mask=box(19, side=20).mask), {1}, "lies on top of object 1"),
        ((0, 0), replace(HEAD, mask=box(19, side=20).mask), set(), ""),  # most of it is beside
        ((0, 1), replace(HEAD, mask=box(20, side=20).mask), set(), ""),
    ],
)
def test_the_z_order_says_whether_what_stays_gives_way(
    heights: tuple[int, int], drawn: MaskShape, below: set[int], told: str
) -> None:
    """Promise: nothing else does, and nothing that is drawn is covered silently."""
    stays = replace(CAR[0], z_order=heights[0])
    found = compared([(stays, 1)], [stays, replace(drawn, z_order=heights[1])])
    assert (found.objects, found.below, found.touched) == ((1, 0), below, set())
    assert len(found.conflicts) == bool(told)
    assert all(told in each.sentence for each in found.conflicts)


def test_only_masks_that_a_person_drew_lie_on_top() -> None:
    """Promise: nothing is made anew for masks that were over each other before."""
    before = [CAR, (replace(HEAD, z_order=1), 2)]
    assert compared(before, [shape for shape, _ in before]).below == set()
    raised = [CAR[0], replace(HEAD, z_order=5)]
    assert compared(before, raised).below == set()
    edited = [CAR[0], replace(HEAD, mask=box(5, 4, side=6).mask, z_order=1)]
    assert compared(before, edited).below == {1}


def test_of_masks_whose_object_is_not_known_none_stays() -> None:
    """Promise: nobody hears of an object 0."""
    found = compared([(CAR[0], 0)], [CAR[0], HEAD])
    assert (found.below, found.conflicts) == (set(), ())
