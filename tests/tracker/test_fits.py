"""Promise: which way fits a device is remembered, but neither without bound nor for ever; a want of
memory is never told as a trace.
"""

from __future__ import annotations

import pytest
import torch

from errors import InputError
from tracker.fits import FoundFits, memory_in_words


def test_what_was_found_lapses_and_is_bounded() -> None:
    """Memory that another program took may be free again."""
    time = 0.0
    found = FoundFits(most=2, lasts=60, clock=lambda: time)
    assert found.of("large") == 0
    found.note("large", 2)
    time = 59.0
    found.note("large", 2)  # used again: that is no proof that it would not fit better by now
    assert found.of("large") == 2
    time = 61.0
    assert found.of("large") == 0
    for way, what in enumerate(("one", "two", "three"), 1):
        found.note(what, way)
    assert [found.of(what) for what in ("one", "two", "three")] == [0, 2, 3]


def test_a_want_of_memory_is_one_sentence_and_nothing_else_is() -> None:
    said = "has too little free memory for builtin: start again"
    with pytest.raises(InputError, match=said), memory_in_words("builtin"):
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2 GiB")
    with pytest.raises(RuntimeError, match="shapes"), memory_in_words("builtin"):
        raise RuntimeError("shapes do not fit")
