"""The note in a result's comment comes back as it was, however many key frames it lists."""

from __future__ import annotations

import json
from collections.abc import Sequence

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cvat_io.note import pack_note, unpack_note


def frames_text(bits: Sequence[bool], first: int, step: int) -> str:
    """The frames first + k * step for which bit k is set, as a result's note lists them."""
    runs: list[list[int]] = []
    for k in np.flatnonzero(bits).tolist():
        if runs and runs[-1][1] == k - 1:
            runs[-1][1] = k
        else:
            runs.append([k, k])
    ends = [(first + a * step, first + b * step) for a, b in runs]
    return ",".join(str(a) if a == b else f"{a}-{b}" for a, b in ends)


@pytest.mark.parametrize(
    ("frames", "share", "step"), [(120_000, 1 / 3, 1), (400_000, 0.5, 3), (2_000_000, 0.02, 1)]
)
def test_irregular_key_frames_of_very_long_clips_fit_the_note(
    frames: int, share: float, step: int
) -> None:
    bits = np.random.default_rng(0).random(frames) < share
    note = {"key_frames": frames_text(bits, 7, step), "other": "kept"}
    comment = pack_note(note)
    assert len(comment) <= 65_535
    assert unpack_note(comment) == {"mask_relay": 1} | note


@given(
    st.lists(st.booleans(), min_size=1, max_size=60).filter(any),
    st.integers(0, 10**8),
    st.sampled_from([1, 2, 3, 30]),
    st.integers(1, 400),
)
@settings(max_examples=10, deadline=None)
def test_a_packed_list_of_frames_comes_back_to_the_letter(
    bits: list[bool], first: int, step: int, times: int
) -> None:
    pattern = (bits + [False] * 7 + [True]) * (1 + 70_000 // (len(bits) * times)) * times
    text = frames_text(pattern, first, step)
    comment = pack_note({"key_frames": text})
    assert len(comment) <= 65_535
    assert unpack_note(comment) == {"mask_relay": 1, "key_frames": text}


def test_frames_that_cannot_fit_at_all_are_left_out_instead_of_losing_the_result() -> None:
    bits = np.random.default_rng(0).random(1_000_000) < 0.5
    comment = pack_note({"key_frames": frames_text(bits, 0, 1), "other": "kept"})
    assert unpack_note(comment) == {"mask_relay": 1, "other": "kept"}
    with pytest.raises(ValueError, match="does not fit"):
        pack_note({"other": "no list" * 10_000})


@pytest.mark.parametrize(
    "lists",
    ["[1]", '{"a": 1}', '{"a": [0, 1, "x"]}', '{"a": ["0", 1, ""]}', '{"a": [0, 1, "~~~~"]}'],
)
def test_a_damaged_note_is_none(lists: str) -> None:
    assert unpack_note(f'{{"mask_relay": 1, "packed_lists": {lists}}}'.encode()) is None


@pytest.mark.parametrize(
    "lists",
    [
        '{"a": [0.5, 2, BITS]}',
        '{"a": [0, NaN, BITS]}',
        '{"a": [true, 2, BITS]}',
        '{"a": [1%s, 2, BITS]}' % ("0" * 40),
        '{"a": [0, 2, BITS], "b": [0, 2, BITS], "c": [0, 2, BITS], "d": [0, 2, BITS], "e": [0, 2, '
        "BITS]}",
    ],
    ids=["fraction", "NaN", "truth", "huge", "more lists than memory is for"],
)
def test_sound_bits_in_an_unsound_list_are_none(lists: str) -> None:
    bits = np.random.default_rng(0).random(100_000) < 0.3
    packed = json.loads(pack_note({"a": frames_text(bits, 0, 1)}))["packed_lists"]["a"]
    lists = lists.replace("BITS", json.dumps(packed[2]))
    assert unpack_note(f'{{"mask_relay": 1, "packed_lists": {lists}}}'.encode()) is None
