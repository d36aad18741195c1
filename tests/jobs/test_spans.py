"""Promise: exactly the gaps between key frames that must be computed are, each as one span."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from jobs.options import Direction, KeyFrames
from jobs.spans import plan_spans

TEN = tuple(range(10))


def spans(sequence, keys, **options):
    options.setdefault("direction", Direction.BOTH)
    options.setdefault("keyframes", KeyFrames.COMPLETE)
    planned = plan_spans(sequence, keys, **options)
    assert [span.ordinal for span in planned] == list(range(len(planned)))
    return [(s.start, s.stop, str(s.direction), s.anchors, s.frames_total) for s in planned]


@pytest.mark.parametrize(
    ("keys", "expected"),
    [
        ((0,), [(1, 9, "forward", (0,), 9)]),
        ((9,), [(0, 8, "backward", (9,), 9)]),
        ((0, 9), [(1, 8, "both", (0, 9), 8)]),
        (
            (3, 6),
            [
                (0, 2, "backward", (3,), 3),
                (4, 5, "both", (3, 6), 2),
                (7, 9, "forward", (6,), 3),
            ],
        ),
        ((4, 5), [(0, 3, "backward", (4,), 4), (6, 9, "forward", (5,), 4)]),
        (TEN, []),
        ((), []),
    ],
)
def test_every_gap_between_key_frames_is_one_span(keys, expected):
    assert spans(TEN, keys) == expected


def test_forward_only_leaves_what_lies_before_the_first_key_frame():
    assert spans(TEN, (3, 6), direction=Direction.FORWARD) == [
        (4, 5, "forward", (3, 6), 2),
        (7, 9, "forward", (6,), 3),
    ]


def test_steps_and_deleted_frames_count_only_frames_that_exist():
    sequence = (100, 103, 109, 112, 121)
    assert spans(sequence, (103,)) == [
        (100, 100, "backward", (103,), 1),
        (109, 121, "forward", (103,), 3),
    ]


def test_one_single_frame_that_is_drawn_leaves_nothing_to_do():
    for keyframes in KeyFrames:
        assert spans((5,), (5,), keyframes=keyframes) == []


@pytest.mark.parametrize(
    ("fill", "expected"),
    [
        ({1}, [(1, 2, "backward", (3,), 2)]),
        ({7}, [(7, 7, "forward", (6,), 1)]),
        ({4}, [(4, 5, "both", (3, 6), 2)]),
        ({3, 6}, []),
    ],
)
def test_wanted_frames_alone_decide_which_spans_are_computed_and_how_far(fill, expected):
    assert spans(TEN, (3, 6), fill=frozenset(fill)) == expected


def test_a_forward_span_that_is_cut_does_not_go_on_to_the_next_key_frame():
    wanted = frozenset({2})
    assert spans(TEN, (0, 9), direction=Direction.FORWARD, fill=wanted) == [
        (1, 2, "forward", (0,), 2)
    ]


def test_only_gaps_beside_a_changed_key_frame_are_computed_again():
    assert spans(TEN, (0, 3, 6, 9), changed=frozenset({3})) == [
        (1, 2, "both", (0, 3), 2),
        (4, 5, "both", (3, 6), 2),
    ]
    assert spans(TEN, (0, 3, 6, 9), changed=frozenset({9})) == [(7, 8, "both", (6, 9), 2)]
    assert spans(TEN, (0, 3), changed=frozenset()) == []


def test_a_gap_in_which_a_key_frame_was_given_up_is_computed_again():
    assert spans(TEN, (0, 6, 9), changed=frozenset({3})) == [(1, 5, "both", (0, 6), 5)]
    assert spans(TEN, (3, 6), changed=frozenset({0})) == [(0, 2, "backward", (3,), 3)]
    assert spans(TEN, (3, 6), changed=frozenset({8})) == [(7, 9, "forward", (6,), 3)]


def test_partial_key_frames_make_one_span_with_all_of_them_as_anchors():
    partial = {"keyframes": KeyFrames.PARTIAL}
    assert spans(TEN, (3, 6), **partial) == [(0, 9, "both", (3, 6), 10)]
    assert spans(TEN, (3, 6), direction=Direction.FORWARD, **partial) == [
        (4, 9, "forward", (3, 6), 6)
    ]
    assert spans(TEN, (3, 6), changed=frozenset(), **partial) == []


@given(
    st.integers(1, 40).flatmap(
        lambda n: st.tuples(st.just(n), st.sets(st.integers(0, n - 1), min_size=1))
    ),
    st.integers(0, 5),
    st.integers(1, 4),
)
def test_spans_never_overlap_and_cover_every_frame_that_is_not_drawn(job, start, step):
    length, drawn = job
    sequence = range(start, start + length * step, step)
    keys = sorted(sequence[index] for index in drawn)
    planned = plan_spans(sequence, keys, direction=Direction.BOTH, keyframes=KeyFrames.COMPLETE)
    covered = [f for s in planned for f in sequence if s.start <= f <= s.stop]
    assert sorted([*covered, *keys]) == list(sequence)
    assert all(span.frames_total == (span.stop - span.start) // step + 1 for span in planned)
