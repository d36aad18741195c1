"""Promise: frames are read as people type them; what cannot be read is answered with the range."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from errors import InputError
from jobs.frames_text import format_frames, parse_frames


@pytest.mark.parametrize(
    ("text", "frames", "expected"),
    [
        ("", range(10), ()),
        ("7, 9-11,", range(20), (7, 9, 10, 11)),
        ("3;3,1", range(10), (1, 3)),
        ("30-36", range(30, 60, 3), (30, 33, 36)),
        ("31 - 37", range(30, 60, 3), (33, 36)),
    ],
)
def test_frames_are_read_as_people_type_them(text, frames, expected):
    assert parse_frames(text, frames) == expected


@pytest.mark.parametrize(
    "text", ["x", "1-", "-1", "5-3", "60", "40-90", "31", "31-32", "1e3", "9" * 5000, "1--2", "٣"]
)
def test_bad_frames_are_refused_with_the_range_and_the_step(text):
    with pytest.raises(InputError, match="frames 30 to 57 in steps of 3"):
        parse_frames(text, range(30, 60, 3))


@given(st.sets(st.integers(0, 60)), st.integers(0, 9), st.integers(1, 5))
def test_frames_written_as_text_are_read_back(picked, start, step):
    frames = range(start, start + 61 * step, step)
    chosen = tuple(sorted(frames[index] for index in picked))
    assert parse_frames(format_frames(chosen, step), frames) == chosen
