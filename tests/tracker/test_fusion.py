"""Promise: two passes become one by trust, and a pass never denies what it was never shown."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from tracker.fusion import fuse
from tracker.protocol import Step


def step(rows: list[list[int]], *confidence: float) -> Step:
    return Step(np.array(rows, dtype=np.uint16), np.array(confidence, dtype=np.float32))


def known(*values: bool) -> np.ndarray:
    return np.array(values, dtype=bool)


def test_where_the_passes_agree_nothing_changes() -> None:
    both = step([[0, 1, 2]], 0.3, 0.2)
    fused, agreement = fuse(
        both, both, weight_forward=0.4, in_forward=known(True, True), in_backward=known(True, True)
    )
    assert np.array_equal(fused.labels, both.labels)
    assert agreement.tolist() == [1, 1]
    assert fused.confidence == pytest.approx([0.3, 0.2])


@pytest.mark.parametrize(("weight", "expected"), [(0.9, [1, 0]), (0.5, [1, 0]), (0.1, [0, 1])])
def test_the_pass_nearer_to_its_key_frame_decides(weight: float, expected: list[int]) -> None:
    fused, agreement = fuse(
        step([[1, 0]], 0.8), step([[0, 1]], 0.8),
        weight_forward=weight, in_forward=known(True), in_backward=known(True),
    )  # fmt: skip
    assert fused.labels.tolist() == [expected]
    assert agreement.tolist() == [0]


def test_a_pass_that_has_lost_an_object_loses_to_a_sure_one() -> None:
    fused, _ = fuse(
        step([[0, 0]], 0.1), step([[0, 1]], 0.9),
        weight_forward=0.6, in_forward=known(True), in_backward=known(True),
    )  # fmt: skip
    assert fused.labels.tolist() == [[0, 1]]


def test_an_object_that_one_pass_alone_knows_is_decided_by_it() -> None:
    for weight in (0.0, 0.5, 1.0):
        fused, agreement = fuse(
            step([[0, 0, 1]], 1.0, 0.0), step([[0, 2, 0]], 0.0, 0.05),
            weight_forward=weight, in_forward=known(True, False), in_backward=known(False, True),
        )  # fmt: skip
        assert fused.labels.tolist() == [[0, 2, 1]]
        assert agreement.tolist() == [1, 1]
        assert fused.confidence == pytest.approx([1.0, 0.05])


def test_two_known_objects_on_one_pixel_go_to_the_surer_pass() -> None:
    fused, agreement = fuse(
        step([[1, 1]], 0.3, 0.9), step([[1, 2]], 0.3, 0.9),
        weight_forward=0.5, in_forward=known(True, True), in_backward=known(True, True),
    )  # fmt: skip
    assert fused.labels.tolist() == [[1, 2]]
    assert agreement.tolist() == [0.5, 0]


def test_inputs_stay_as_they_were() -> None:
    forward, backward = step([[1, 0]], 0.1), step([[0, 1]], 0.9)
    fuse(forward, backward, weight_forward=0.5, in_forward=known(True), in_backward=known(True))
    assert forward.labels.tolist() == [[1, 0]]
    assert backward.labels.tolist() == [[0, 1]]


LABELS = arrays.arrays(np.uint16, (6, 7), elements=st.integers(0, 4))
SHARES = arrays.arrays(np.float32, 4, elements=st.floats(0, 1, width=32))


@given(LABELS, LABELS, SHARES, SHARES, st.floats(0, 1), st.integers(0, 15), st.integers(0, 15))
def test_every_pixel_is_what_one_of_the_passes_says(
    a: np.ndarray, b: np.ndarray, sure_a: np.ndarray, sure_b: np.ndarray, weight: float,
    bits_a: int, bits_b: int,
) -> None:  # fmt: skip
    in_a = np.array([bits_a >> i & 1 for i in range(4)], dtype=bool)
    in_b = np.array([bits_b >> i & 1 for i in range(4)], dtype=bool)
    a = np.where(np.append(False, in_a)[a], a, 0).astype(np.uint16)
    b = np.where(np.append(False, in_b)[b], b, 0).astype(np.uint16)
    fused, agreement = fuse(
        Step(a, sure_a), Step(b, sure_b), weight_forward=weight, in_forward=in_a, in_backward=in_b
    )
    assert ((fused.labels == a) | (fused.labels == b)).all()
    only_b = (a == 0) & (b > 0) & ~np.append(True, in_a)[b]
    assert (fused.labels[only_b] == b[only_b]).all()
    for values in (agreement, fused.confidence):
        assert values.shape == (4,)
        assert ((values >= 0) & (values <= 1)).all()


def test_three_hundred_objects_are_fused_at_once() -> None:
    labels = np.repeat(np.arange(301, dtype=np.uint16)[None], 4, axis=0)
    sure = np.ones(300, dtype=np.float32)
    everyone = np.ones(300, dtype=bool)
    fused, agreement = fuse(
        Step(labels, sure), Step(labels[:, ::-1].copy(), sure),
        weight_forward=0.7, in_forward=everyone, in_backward=everyone,
    )  # fmt: skip
    assert np.array_equal(fused.labels, labels)
    assert agreement.sum() == 1  # number 150 alone lies where it lay


def fused(forward: Step, backward: Step, weight: float) -> list[list[int]]:
    one = known(True)
    both, _ = fuse(forward, backward, weight_forward=weight, in_forward=one, in_backward=one)
    return both.labels.tolist()


def test_a_pass_that_has_drifted_a_little_loses_though_its_key_frame_is_nearer() -> None:
    assert fused(step([[1, 0]], 0.7), step([[0, 1]], 0.95), 0.7) == [[0, 1]]


def test_a_ghost_ends_where_the_other_pass_has_just_been_told_that_it_is_gone() -> None:
    ghost, gone = step([[1, 1]], 0.9), step([[0, 0]], 0.5)
    assert fused(ghost, gone, 1 / 30) == [[0, 0]]
    assert fused(ghost, gone, 29 / 30) == [[1, 1]]


def test_a_doubted_mask_beside_its_key_frame_is_not_denied_from_afar() -> None:
    assert fused(step([[1, 1]], 0.2), step([[0, 0]], 0.5), 0.97) == [[1, 1]]
