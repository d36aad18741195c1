"""Promise: the frame that is suggested is the one whose correction is expected to repair most."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from jobs.next_frame import (
    WORDS,
    FrameDoubt,
    expected_repair,
    joined,
    next_frame,
    worst_frames,
)
from jobs.options import Direction
from tracker.signs import Sign


def doubts(scores: dict[int, float], why: str = "unsure") -> list[FrameDoubt]:
    return [FrameDoubt(f, 1, score, 1, "car", score, why) for f, score in sorted(scores.items())]


def test_what_was_lost_is_found_again_in_the_middle_of_where_it_is_lost() -> None:
    """Good up to frame 30, lost from there on: one loss in 31 steps is what is to be expected."""
    scores = {frame: 0.02 if frame <= 30 else 0.9 for frame in range(1, 100)}
    found = next_frame(3, doubts(scores, "split"), [0])
    assert found is not None
    assert 61 <= found.frame <= 69
    assert (found.run, found.object, found.label, found.why) == (3, 1, "car", "split")
    assert found.reason == "the mask is in pieces"
    # Of the 69 masks that are lost these hold for some 30 steps, and half of that is told.
    assert 15 < found.repairs < 23
    assert found.iou_gain == pytest.approx(found.repairs / 99, abs=1e-3)


def test_a_still_stretch_is_not_suggested() -> None:
    """Nothing moves up to frame 60, then each step costs 5 %: half as far again from there."""
    scores = {frame: 0.0 if frame <= 60 else 1 - 0.95 ** (frame - 60) for frame in range(1, 121)}
    found = next_frame(1, doubts(scores), [0])
    assert found is not None
    assert 75 <= found.frame <= 105


@pytest.mark.parametrize("length", [100, 1_000, 10_000])
def test_what_masks_lack_beside_every_key_frame_is_no_reason_to_correct(length: int) -> None:
    """Borders are a little off, as they would be behind every other key frame."""
    assert next_frame(1, doubts(dict.fromkeys(range(1, length), 0.04)), [0]) is None
    lost = next_frame(1, doubts(dict.fromkeys(range(1, length), 0.04) | {length: 0.6}), [0])
    assert lost is not None
    assert lost.frame == length
    assert lost.repairs == pytest.approx(0.6)


def test_a_gap_in_which_an_object_is_lost_comes_before_a_thousand_little_faults() -> None:
    gaps = {frame: 0.1 for frame in range(1, 1050) if frame % 50}
    gaps |= dict.fromkeys(range(506, 545), 0.95)
    for direction in (Direction.BOTH, Direction.FORWARD):
        found = next_frame(1, doubts(gaps), range(0, 1051, 50), direction)
        assert found is not None
        assert 506 <= found.frame <= 544
        assert 4 < found.repairs < 40


def test_before_the_first_key_frame_it_is_as_after_the_last_one() -> None:
    after = {100 + away: 1 - 0.97**away for away in range(1, 60)}
    before = {100 - away: 1 - 0.97**away for away in range(1, 60)}
    gains = [expected_repair(doubts(scores), [100]) for scores in (after, before)]
    assert gains[0] == pytest.approx(gains[1][::-1])
    together = expected_repair(doubts(after | before), [100])
    assert together == pytest.approx(np.concatenate(gains[::-1]))


def test_between_two_key_frames_the_middle_of_an_even_decay_is_suggested() -> None:
    scores = {frame: 1 - 0.97 ** min(frame, abs(60 - frame)) for frame in range(1, 60)}
    gains = expected_repair(doubts(scores), [0, 60])
    assert gains == pytest.approx(gains[::-1], abs=1e-3)
    assert abs(int(np.argmax(gains)) - 29) <= 1  # 29 and 31 steps lose as much as 30 and 30


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


def test_of_the_frames_to_correct_each_counts_on_those_before_it() -> None:
    """Two stretches are lost: each has its frame before either has a second one."""
    scores = dict.fromkeys(range(1, 200), 0.01)
    scores |= dict.fromkeys([*range(40, 61), *range(140, 161)], 0.9)
    frames = doubts(scores)
    found = worst_frames(frames, [0, 100, 200], 6)
    first = next_frame(1, frames, [0, 100, 200])
    assert first is not None
    assert (found[0].frame, found[0].repairs) == (first.frame, first.repairs)
    assert {each.frame // 100 for each in found[:2]} == {0, 1}
    assert len({each.frame for each in found}) == len(found)
    repairs = [each.repairs for each in found]
    assert repairs == sorted(repairs, reverse=True)
    assert all(scores[each.frame] == 0.9 for each in found[:2])


def test_where_nothing_more_would_gain_the_list_ends() -> None:
    assert worst_frames([], [0], 3) == ()
    assert [each.frame for each in worst_frames(doubts({1: 0.5, 2: 0.01}), [0], 9)] == [1]


def test_forward_passes_repair_nothing_in_front_of_a_corrected_frame() -> None:
    """Rising doubts: both ways the middle of what is bad, forward never more than lies behind."""
    scores = {frame: 0.6 * frame / 100 for frame in range(1, 100)}
    losses = np.array(list(scores.values()))
    behind = np.cumsum(losses[::-1])[::-1]
    gains = expected_repair(doubts(scores), [0], Direction.FORWARD)
    assert (gains <= behind + 1e-9).all()
    assert (gains >= losses - 1e-9).all()
    both = expected_repair(doubts(scores), [0])
    assert int(np.argmax(gains)) < int(np.argmax(both))


def test_forward_passes_end_where_the_next_key_frame_stands() -> None:
    """Good in front of the key frame and behind it, lost from the middle of the first gap on."""
    scores = {frame: 0.9 if 20 <= frame < 40 else 0.02 for frame in range(1, 80) if frame != 40}
    gains = expected_repair(doubts(scores), [0, 40], Direction.FORWARD)
    frames = sorted(scores)
    assert frames[int(np.argmax(gains))] in range(18, 24)  # at once, not in the middle
    found = worst_frames(doubts(scores), [0, 40], 5, Direction.FORWARD)
    assert 18 <= found[0].frame < 24
    assert found[0].repairs > sum(each.repairs for each in found[1:])
