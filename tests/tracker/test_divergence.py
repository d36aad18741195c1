"""Promise: divergence lies in [0, 1], what speaks against a mask never lowers it, and frames where
the mask has left come before good ones."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from demo.clip import make_clip
from tracker import divergence
from tracker.engines import make
from tracker.looks import bent, boxes, looks, unlikeness
from tracker.protocol import Step
from tracker.signs import WEIGHTS, Kind, Sign


def block(size: int) -> np.ndarray:
    labels = np.zeros((32, 32), dtype=np.uint16)
    labels[:size, :size] = 1
    return labels


def doubt(labels: np.ndarray, confidence: float, **more: np.ndarray) -> float:
    return float(
        divergence.doubt(Step(labels, np.array([confidence], dtype=np.float32)), **more)[0]
    )


def test_each_reason_to_doubt_raises_the_score() -> None:
    fine = doubt(block(10), 1.0, previous=block(10), agreement=np.ones(1, dtype=np.float32))
    assert fine == 0
    assert doubt(block(10), 0.4, previous=block(10)) == pytest.approx(0.6)
    assert doubt(block(10), 1.0, agreement=np.array([0.25], dtype=np.float32)) == 0.75
    assert 0 < doubt(block(10), 1.0, previous=block(11)) < doubt(block(10), 1.0, previous=block(14))
    assert doubt(block(5), 1.0, previous=block(30)) == 1


def test_an_object_that_is_gone_is_in_doubt_only_where_it_vanishes() -> None:
    assert doubt(block(0), 1.0, previous=block(10)) == 0
    assert doubt(block(0), 0.5, previous=block(10)) == 0.5
    assert doubt(block(0), 0.5, previous=block(0)) == 0
    assert doubt(block(0), 0.5) == 0


def test_passes_that_contradict_are_in_doubt_whether_the_object_is_there_or_not() -> None:
    assert doubt(block(0), 0.5, previous=block(0), agreement=np.zeros(1, dtype=np.float32)) == 1


@given(
    arrays.arrays(np.uint16, (5, 5), elements=st.integers(0, 3)),
    arrays.arrays(np.uint16, (5, 5), elements=st.integers(0, 3)),
    arrays.arrays(np.float32, 3, elements=st.floats(0, 1, width=32)),
    arrays.arrays(np.float32, 3, elements=st.floats(0, 1, width=32)),
)
def test_the_score_is_always_in_range(
    now: np.ndarray, before: np.ndarray, confidence: np.ndarray, agreement: np.ndarray
) -> None:
    found = divergence.doubt(Step(now, confidence), previous=before, agreement=agreement)
    assert found.dtype == np.float32
    assert found.shape == (3,)
    assert ((found >= 0) & (found <= 1)).all()


def test_frames_after_a_cut_rank_above_frames_before_it() -> None:
    """The film changes to something else altogether: no mask can be right from there on."""
    film = [image for image, _ in make_clip(6, 240, 136)]
    other = [image[::-1, ::-1].copy() for image, _ in make_clip(6, 240, 136, seed=5)]
    first = make_clip(1, 240, 136).frame(0)
    propagator = make("builtin")
    propagator.start(*first)
    scores, previous = [], first[1]
    for image in [*film[1:], *other[1:]]:
        found = propagator.step(image)
        scores.append(divergence.doubt(found, previous=previous).max())
        previous = found.labels
    assert max(scores[:5]) < scores[5]


SIGNS = arrays.arrays(np.float32, (3, len(Sign)), elements=st.floats(0, 30, width=32))


@given(SIGNS, st.sampled_from(Kind), st.sampled_from(Sign), st.floats(0, 5))
def test_the_score_is_a_share_and_no_sign_ever_lowers_it(
    found: np.ndarray, kind: Kind, sign: Sign, more: float
) -> None:
    scores = divergence.score(found, kind)
    assert scores.dtype == np.float32
    assert ((scores >= 0) & (scores <= 1)).all()
    assert (scores == divergence.score(found.copy(), kind)).all()
    found[:, sign] += np.float32(more)
    assert (divergence.score(found, kind) >= scores).all()


@pytest.mark.parametrize("kind", Kind)
def test_the_reason_is_the_sign_that_stands_out(kind: Kind) -> None:
    _, table = WEIGHTS[kind]
    usual = np.zeros((1, len(Sign)), dtype=np.float32)
    for sign, (_, mean) in table.items():
        usual[0, sign] = mean
    for sign in table:
        found = usual.copy()
        found[0, sign] += 1
        assert divergence.reasons(found, kind) == [sign]


def test_what_a_pass_has_strayed_only_grows_and_is_rounded_as_it_is_written() -> None:
    before = np.array([0.1234], dtype=np.float32)
    after = divergence.strayed(before, np.array([0.33333, 0.0], dtype=np.float32))
    assert (after > [0.1234, 0]).all()
    assert after.tolist() == np.round(after.astype(np.float64), 4).astype(np.float32).tolist()


def test_an_object_that_vanished_is_in_doubt_until_it_is_back() -> None:
    unsure, there, nothing = np.array([0.5], dtype=np.float32), block(10), block(0)
    calm = np.zeros(1, dtype=np.float32)
    gone = divergence.gone(np.zeros(0, dtype=np.float32), unsure, nothing, there)
    assert gone.tolist() == [0.5]
    gone = divergence.gone(gone, calm, nothing, nothing)
    assert gone.tolist() == [0.5]
    assert divergence.gone(gone, unsure, there, nothing).tolist() == [0]
    signs = np.zeros((2, len(Sign)), dtype=np.float32)
    signs[1, Sign.GONE] = 0.5
    low, high = divergence.score(signs, Kind.SINGLE)
    assert high > 2 * low


def picture(labels: np.ndarray, colour: tuple[int, int, int]) -> np.ndarray:
    image = np.full((32, 32, 3), 60, dtype=np.uint8)
    image[labels > 0] = colour
    return image


def test_a_mask_is_held_against_the_look_of_its_key_frame() -> None:
    """The same mask is like itself; other colours, half of it and a second piece are told apart."""
    key, red = block(12), (200, 30, 30)
    look = looks(picture(key, red), key, [1])[1]
    same = unlikeness(picture(key, red), key, 1, boxes(key)[1], look)
    assert (same.faded, same.foreign, same.resized, same.split) == (0, 0, 0, 0)
    assert same.unlike == pytest.approx(0, abs=1e-6)
    other = unlikeness(picture(key, (30, 200, 30)), key, 1, boxes(key)[1], look)
    assert other.unlike > 0.9
    off = np.roll(key, 20, axis=(0, 1))
    ground = unlikeness(picture(key, red), off, 1, boxes(off)[1], look)
    assert ground.faded > 0.9
    assert ground.foreign > 0.9
    small = block(6)
    assert unlikeness(picture(key, red), small, 1, boxes(small)[1], look).resized > 1
    torn = key.copy()
    torn[20:26, 20:26] = 1
    assert unlikeness(picture(torn, red), torn, 1, boxes(torn)[1], look).split == pytest.approx(0.2)


def test_a_shape_that_only_moves_is_not_bent() -> None:
    one = block(10)
    two = np.roll(one, 7, axis=(0, 1))
    wide = np.zeros_like(one)
    wide[:2, :30] = 1
    assert bent(one, two, 1, boxes(one)[1], boxes(two)[1]) == 0
    assert bent(one, wide, 1, boxes(one)[1], boxes(wide)[1]) > 0.7


@given(arrays.arrays(np.uint16, (9, 11), elements=st.integers(0, 3)))
def test_boxes_hold_their_objects_and_nothing_more(labels: np.ndarray) -> None:
    found = boxes(labels)
    assert set(found) == set(np.unique(labels)) - {0}
    for number, box in found.items():
        inside = labels[box] == number
        assert np.count_nonzero(inside) == np.count_nonzero(labels == number)
        assert inside.any(axis=0)[[0, -1]].all()
        assert inside.any(axis=1)[[0, -1]].all()
