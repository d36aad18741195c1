"""Promise: at a key frame a drawn mask goes on as the object that arrives, or as a new one."""

from __future__ import annotations

import numpy as np

from tracker.identity import iou_table, match


def strip(*spans: tuple[int, int, int], length: int = 100) -> np.ndarray:
    """A label map with objects (number, from, to) side by side."""
    labels = np.zeros((4, length), dtype=np.uint16)
    for number, start, stop in spans:
        labels[:, start:stop] = number
    return labels


def pair(
    predicted: np.ndarray,
    drawn: np.ndarray,
    predicted_kinds: dict[int, str],
    drawn_kinds: dict[int, str],
    predicted_names: dict[int, str] | None = None,
    drawn_names: dict[int, str] | None = None,
) -> dict[int, int]:
    return match(
        predicted, drawn,
        predicted_kinds=predicted_kinds, drawn_kinds=drawn_kinds,
        predicted_names=predicted_names or {}, drawn_names=drawn_names or {},
    )  # fmt: skip


CARS = {1: "car", 2: "car"}


def test_the_assignment_is_best_as_a_whole() -> None:
    # Greedily, drawn 1 would take predicted 1 (its best) and leave drawn 2 with nothing.
    predicted = strip((1, 0, 40), (2, 40, 60))
    drawn = strip((2, 0, 25), (1, 25, 52))
    assert pair(predicted, drawn, CARS, CARS) == {1: 2, 2: 1}


def test_too_little_overlap_is_a_new_object() -> None:
    predicted, drawn = strip((1, 0, 50)), strip((1, 46, 100))
    assert pair(predicted, drawn, {1: "car"}, {1: "car"}) == {}


def test_kinds_never_cross() -> None:
    same = strip((1, 0, 50))
    assert pair(same, same, {1: "car"}, {1: "bus"}) == {}
    assert pair(same, same, {1: "car"}, {1: "bus"}, {1: "a"}, {1: "a"}) == {}


def test_equal_names_win_over_overlap() -> None:
    predicted, drawn = strip((1, 0, 50), (2, 50, 100)), strip((1, 0, 50), (2, 50, 100))
    assert pair(predicted, drawn, CARS, CARS, {1: "a", 2: "b"}, {1: "b", 2: "a"}) == {1: 2, 2: 1}


def test_a_name_brings_back_an_object_that_is_out_of_sight() -> None:
    assert pair(strip(), strip((7, 0, 9)), {3: "car"}, {7: "car"}, {3: "a"}, {7: "a"}) == {7: 3}


def test_different_names_are_different_objects() -> None:
    same = strip((1, 0, 50))
    assert pair(same, same, {1: "car"}, {1: "car"}, {1: "a"}, {1: "b"}) == {}


def test_a_name_on_one_side_only_leaves_it_to_the_overlap() -> None:
    same = strip((1, 0, 50))
    assert pair(same, same, {1: "car"}, {1: "car"}, {1: "a"}, {}) == {1: 1}
    assert pair(same, same, {1: "car"}, {1: "car"}, {}, {1: "a"}) == {1: 1}


def test_a_name_given_twice_is_told_apart_by_overlap() -> None:
    predicted, drawn = strip((1, 0, 50), (2, 50, 100)), strip((1, 50, 100), (2, 0, 50))
    names = {1: "a", 2: "a"}
    assert pair(predicted, drawn, CARS, CARS, names, names) == {1: 2, 2: 1}


def test_a_named_object_is_not_taken_by_an_unnamed_one() -> None:
    predicted = strip((1, 0, 50))
    drawn = strip((1, 0, 50), (2, 50, 60))
    assert pair(predicted, drawn, {1: "car"}, CARS, {1: "a"}, {2: "a"}) == {2: 1}


def test_objects_that_are_not_listed_are_not_considered() -> None:
    both = strip((1, 0, 50), (2, 50, 100))
    assert pair(both, both, {2: "car"}, CARS) == {2: 2}


def test_empty_sides_match_nothing() -> None:
    some, none = strip((1, 0, 50)), strip()
    assert pair(none, some, {}, {1: "car"}) == {}
    assert pair(some, none, {1: "car"}, {}) == {}
    assert pair(none, none, {1: "car"}, {1: "car"}) == {}


def test_hundreds_of_objects_find_themselves_again() -> None:
    grid = np.arange(1, 301, dtype=np.uint16).reshape(15, 20)
    predicted = np.kron(grid, np.ones((6, 6), dtype=np.uint16))
    shuffled = np.random.default_rng(0).permutation(300) + 1
    drawn = np.append(0, shuffled).astype(np.uint16)[predicted]
    kinds = dict.fromkeys(range(1, 301), "thing")
    found = pair(predicted, drawn, kinds, kinds)
    assert found == {int(new): old for old, new in enumerate(shuffled, start=1)}


def test_the_largest_number_a_label_map_can_hold_is_no_trouble() -> None:
    labels = strip((65535, 0, 50))
    assert pair(labels, labels, {65535: "car"}, {65535: "car"}) == {65535: 65535}


def test_the_table_holds_intersection_over_union() -> None:
    table = iou_table(strip((5, 0, 50)), [5, 6], strip((1, 25, 75), (2, 0, 10)), [1, 2])
    assert np.allclose(table, [[25 / 75, 10 / 50], [0, 0]])
