"""Devices that are too small: which smaller way of running fits, found once and told in words.

An engine names its ways from the fastest to the smallest, tries them in turn where memory runs out,
and tells whoever asked (`tracker.engines.Power.on_smaller`) with which one it goes on.
"""

from __future__ import annotations

import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Generator, Hashable
from contextlib import contextmanager
from typing import Final

from errors import InputError

PROCESSOR: Final = "the processor in place of the graphics card"
NOT_AT_ALL: Final = (
    "The engine does not fit into this machine's memory in any way: choose a smaller one (`relay "
    "models`)."
)
_MOST = 64  # findings that a process keeps
_LASTS = 1800.0  # seconds; what another program took for a while must not hold for ever


class FoundFits:
    """Which way was found to fit, by what was to be run: so that it is found once in a process.

    Safe to use from several threads. It is bounded in number, and a finding lapses after half an
    hour, since the memory may be free again.
    """

    def __init__(
        self,
        *,
        most: int = _MOST,
        lasts: float = _LASTS,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """`most`: findings to keep, the oldest goes first; `lasts`: seconds by `clock`."""
        self._most = most
        self._lasts = lasts
        self._clock = clock
        self._found: OrderedDict[Hashable, tuple[int, float]] = OrderedDict()
        self._lock = threading.Lock()

    def of(self, what: Hashable) -> int:
        """The number of the way that fitted `what`; 0, the first, where nothing is known."""
        with self._lock:
            way, until = self._found.get(what, (0, 0.0))
            return way if self._clock() < until else 0

    def note(self, what: Hashable, way: int) -> None:
        """Remember that `way` fits `what`; what is known already keeps its time."""
        if self.of(what) == way:
            return
        with self._lock:
            self._found[what] = way, self._clock() + self._lasts
            self._found.move_to_end(what)
            while len(self._found) > self._most:
                self._found.popitem(last=False)


@contextmanager
def memory_in_words(who: str) -> Generator[None, None, None]:
    """Turn a graphics card's want of memory, wherever it shows, into a sentence about `who`."""
    try:
        yield
    except RuntimeError as exc:
        import torch  # here, since it takes seconds to load; whoever raised it has done so

        if not isinstance(exc, torch.OutOfMemoryError):
            raise
        raise InputError(
            f"The graphics card has too little free memory for {who}: start again when it is free, "
            "choose a smaller one (`relay models`), or the processor (--device cpu)."
        ) from exc


def make_room() -> None:
    """Give back what PyTorch keeps for later, before a smaller way is tried."""
    import torch  # here, since it takes seconds to load

    if torch.cuda.is_available():
        torch.cuda.empty_cache()
