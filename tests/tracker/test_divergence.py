"""Promise: divergence lies in [0, 1], and frames where the mask has left come before good ones."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from demo.clip import make_clip
from tracker import divergence
from tracker.engines import make
from tracker.protocol import Step


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
