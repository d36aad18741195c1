"""What keeps the propagator from waiting: decoding ahead, encoding behind, and clocks."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Generator, Iterable
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from threading import Lock
from typing import ParamSpec, Self

from errors import InputError
from tracker.frames import FrameSource, prefetch
from tracker.protocol import Image

P = ParamSpec("P")
_BEHIND = 8  # frames that may wait to be encoded

STAGES = ("decode", "track", "encode", "write")


class StageClock:
    """Busy seconds of each stage. A stage runs in one thread at a time, so no lock is needed."""

    def __init__(self) -> None:
        self.seconds = dict.fromkeys(STAGES, 0.0)

    @contextmanager
    def busy(self, stage: str) -> Generator[None, None, None]:
        """Count the time of the block for `stage`."""
        began = time.perf_counter()
        try:
            yield
        finally:
            self.seconds[stage] += time.perf_counter() - began


class SpanFrames:
    """The frames of a span by CVAT's numbers, decoded ahead in the order they are asked for."""

    def __init__(
        self, source: FrameSource, frames: tuple[int, ...], clock: StageClock, archive: str
    ) -> None:
        """`frames`: absolute number of every frame of `source`; `archive`: its name in messages."""
        self._source = source
        self._index = {frame: index for index, frame in enumerate(frames)}
        self._clock = clock
        self._archive = archive
        self._turn = Lock()  # reading sets what holds for all threads, such as warnings
        self.frames = frames
        self.height, self.width = source.height, source.width

    def require_size(self, width: int | None, height: int | None) -> None:
        """Refuse images whose size is not what the export says (None: it does not say)."""
        if (
            width is not None
            and height is not None
            and (width, height) != (self.width, self.height)
        ):
            raise InputError(
                f"The images in {self._archive} have {self.width}x{self.height} pixels, but the "
                f"export says {width}x{height}: export the job again with images in original "
                "quality."
            )

    def read(self, frame: int) -> Image:
        """The image of one frame, now; also while others are decoded ahead."""
        with self._turn:
            return self._source.read(self._index[frame])

    def ahead(self, frames: Iterable[int]) -> Generator[Image, None, None]:
        """Images of `frames`, in that order. Close it when leaving early."""
        return prefetch(
            _Clocked(self._source, self._clock, self._turn), [self._index[f] for f in frames]
        )


class _Clocked:
    """A source that counts the time of its reads, one of which is done at a time."""

    def __init__(self, source: FrameSource, clock: StageClock, turn: Lock) -> None:
        self._source = source
        self._clock = clock
        self._turn = turn

    @property
    def width(self) -> int:
        return self._source.width

    @property
    def height(self) -> int:
        return self._source.height

    def __len__(self) -> int:
        return len(self._source)

    def read(self, index: int) -> Image:
        with self._turn, self._clock.busy("decode"):
            return self._source.read(index)

    def close(self) -> None:
        self._source.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()


class Behind:
    """Runs what it is given in one thread behind the caller, in order, a few frames at most.

    What fails there is raised at the next `do` or at the end of the `with` block.
    """

    def __init__(self) -> None:
        self._pool = ThreadPoolExecutor(1, thread_name_prefix="behind")
        self._pending: deque[Future[None]] = deque()

    def do(self, work: Callable[P, None], *args: P.args, **kwargs: P.kwargs) -> None:
        """Run `work` when all that was given before is done; waits while too much is pending."""
        while self._pending and (len(self._pending) >= _BEHIND or self._pending[0].done()):
            self._pending.popleft().result()
        self._pending.append(self._pool.submit(work, *args, **kwargs))

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, *exc: object) -> None:
        try:
            while kind is None and self._pending:
                self._pending.popleft().result()
        finally:
            self._pool.shutdown(wait=True, cancel_futures=True)
