"""Promise: a model is loaded once in a process, also where several threads want it together."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

from tracker.once import once


def test_threads_that_want_the_same_wait_for_one_load_and_others_do_not() -> None:
    loads: list[str] = []
    other = threading.Event()

    @once(most=4)
    def load(name: str) -> list[str]:
        loads.append(name)
        if name == "slow":
            assert other.wait(10)  # another model is loaded meanwhile
        return [name]

    with ThreadPoolExecutor(4) as pool:
        slow = [pool.submit(load, "slow") for _ in range(3)]
        load("quick")
        other.set()
        first, *rest = [each.result(10) for each in slow]
    assert sorted(loads) == ["quick", "slow"]
    assert all(each is first for each in rest)


def test_the_one_that_was_used_longest_ago_is_given_up_and_a_failure_is_tried_again() -> None:
    loads: list[str] = []

    @once(most=2)
    def load(name: str) -> object:
        loads.append(name)
        if loads == ["a"]:
            raise OSError("the disk is away")
        return object()

    with pytest.raises(OSError, match="away"):
        load("a")
    for name in "abacb":
        load(name)
    assert loads == ["a", "a", "b", "c", "b"]
