"""Promise: the frame that is suggested is the one whose correction is expected to repair most."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from jobs.next_frame import WORDS, FrameDoubt, expected_repair, joined, next_frame
from tracker.signs import Sign


def doubts(scores: dict[int, float], why: str = "unsure") -> list[FrameDoubt]:
    return [FrameDoubt(f, 1, score, 1, "car", score, why) for f, score in sorted(scores.items())]


def test_what_was_lost_is_found_again_in_the_middle_of_where_it_is_lost() -> None:
    """Good up to frame 30, lost from there on: one correction holds for some 30 frames each way."""
    scores = {frame: 0.02 if frame <= 30 else 0.9 for frame in range(1, 100)}
    found = next_frame(3, doubts(scores, "split"), [0])
    assert found is not None
    assert 61 <= found.frame <= 69
    assert (found.run, found.object, found.label, found.why) == (3, 1, "car", "split")
    assert found.reason == "the mask is in pieces"
    assert found.repairs == pytest.approx(61 * 0.88, rel=0.05)
    assert found.iou_gain == pytest.approx(found.repairs / 99, abs=1e-3)


def test_a_large_gap_comes_before_a_small_one_that_is_as_bad() -> None:
    near = dict.fromkeys(range(1, 10), 0.4)
    far = dict.fromkeys(range(11, 80), 0.4)
    good = dict.fromkeys(range(81, 120), 0.01)
    found = next_frame(1, doubts(near | far | good), [0, 10, 80])
    assert found is not None
    assert 11 <= found.frame < 80


def test_a_correction_repairs_nothing_beyond_the_next_key_frame() -> None:
    scores = {1: 0.1, 2: 0.1, 4: 0.9, 5: 0.9}
    gains = expected_repair(doubts(scores), [0, 3, 6])
    assert (gains[:2] <= 0.2).all()
    assert (gains[2:] >= 0.9).all()


def test_among_several_objects_the_worst_is_named_and_all_are_counted() -> None:
    one = FrameDoubt(5, 1, 0.6, 1, "car", 0.6, "bent")
    both = joined(one, FrameDoubt(5, 1, 0.7, 2, "dog", 0.7, "gone"))
    assert (both.objects, both.loss) == (2, pytest.approx(1.3))
    calm = doubts(dict.fromkeys((1, 2, 3, 4), 0.01))
    found = next_frame(1, [*calm, both], [0])
    assert found is not None
    assert (found.frame, found.object, found.label) == (5, 2, "dog")
    assert found.reason == "it has vanished"


def test_nothing_is_suggested_where_nothing_would_gain() -> None:
    assert next_frame(1, [], [0]) is None
    assert next_frame(1, doubts({1: 0.5}), []) is None
    assert next_frame(1, doubts({1: 0.01, 2: 0.01}), [0]) is None


@given(
    st.dictionaries(st.integers(1, 60), st.floats(0, 1), min_size=1, max_size=40),
    st.sets(st.integers(0, 60), min_size=1, max_size=5),
)
def test_a_gain_is_never_less_than_the_frames_own_and_never_more_than_all(
    scores: dict[int, float], keys: set[int]
) -> None:
    scores = {frame: score for frame, score in scores.items() if frame not in keys} or {61: 0.5}
    gains = expected_repair(doubts(scores), sorted(keys))
    own = np.array([scores[frame] for frame in sorted(scores)])
    assert (gains >= own - 1e-9).all()
    assert (gains <= own.sum() + 1e-9).all()


def test_every_sign_has_words() -> None:
    assert set(WORDS) == {sign.name.lower() for sign in Sign}
