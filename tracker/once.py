"""What is costly to load is loaded once in a process, also where threads ask for it together."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable, Hashable
from functools import wraps
from typing import ParamSpec, TypeVar

P = ParamSpec("P")
T = TypeVar("T")


def once(*, most: int) -> Callable[[Callable[P, T]], Callable[P, T]]:
    """Keep what a function returned, for the `most` arguments that were asked for last.

    Arguments have to be hashable. As `functools.lru_cache`, but who asks for what is being loaded
    by another thread waits for that, instead of loading it a second time; other arguments are
    loaded meanwhile. What failed is tried again.
    """

    def decorate(load: Callable[P, T]) -> Callable[P, T]:
        kept: OrderedDict[Hashable, T] = OrderedDict()
        turns: dict[Hashable, tuple[threading.Lock, int]] = {}  # and how many want it
        lock = threading.Lock()

        @wraps(load)
        def loaded(*args: P.args, **kwargs: P.kwargs) -> T:
            key = args, tuple(sorted(kwargs.items()))
            with lock:
                turn, wanted = turns.get(key, (threading.Lock(), 0))
                turns[key] = turn, wanted + 1
            try:
                with turn:
                    with lock:
                        if key in kept:
                            kept.move_to_end(key)
                            return kept[key]
                    made = load(*args, **kwargs)
                    with lock:
                        kept[key] = made
                        while len(kept) > most:
                            kept.popitem(last=False)
                    return made
            finally:
                with lock:
                    turn, wanted = turns.pop(key)
                    if wanted > 1:
                        turns[key] = turn, wanted - 1

        return loaded

    return decorate
