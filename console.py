"""A person's terminal: progress, one-line complaints, silence from native libraries."""

from __future__ import annotations

import contextlib
import io
import os
import signal
import sys
import warnings
from collections.abc import Iterator
from typing import TYPE_CHECKING

from errors import one_line

if TYPE_CHECKING:
    from types import FrameType

_LONGEST_LINE = 5000  # a path can be 4,096 characters


class Progress:
    """How far long work is: silent by itself, for stderr holds one line where input is refused.

    `told`: what people should know besides, once each, for the end.
    """

    def __init__(self) -> None:
        self.told: list[str] = []

    def advance(self, done: int, total: int) -> None:
        """So many frames are done."""

    def learn(self, share: str = "") -> None:
        """The engine learns the objects, before any frame is tracked; `share`: such as "40%"."""

    def tell(self, sentence: str) -> None:
        """Say something else that a person should know."""
        if sentence not in self.told:
            self.told.append(sentence)


@contextlib.contextmanager
def progress(what: str) -> Iterator[Progress]:
    """A progress bar on a terminal, silence elsewhere; what was told follows good work."""
    if sys.stderr is None or not sys.stderr.isatty():
        silent = Progress()
        yield silent
        for sentence in silent.told:
            note(sentence)
        return
    from tqdm import tqdm

    with tqdm(desc=what, unit=" frames", dynamic_ncols=True, leave=False) as bar:

        class Bar(Progress):
            def advance(self, done: int, total: int) -> None:
                bar.total = total
                if bar.desc != f"{what}: ":  # the engine has learned
                    bar.set_description(what)
                bar.update(done - bar.n)

            def learn(self, share: str = "") -> None:
                bar.set_description(f"Learning the objects {share}".rstrip())

            def tell(self, sentence: str) -> None:
                bar.write(one_line(sentence), file=sys.stderr)

        yield Bar()


def note(sentence: str) -> None:
    """Print one line on stderr that is no complaint; stdout is for answers."""
    if sys.stderr is not None:
        print(one_line(sentence), file=sys.stderr, flush=True)


def complain(sentence: str, code: int) -> int:
    """Print `sentence` as the one line on stderr; returns `code`, the exit code."""
    if sys.stderr is not None:
        print(one_line(sentence), file=sys.stderr)
    return code


@contextlib.contextmanager
def quiet_codecs() -> Iterator[None]:
    """Keep native libraries (libpng, libav, OpenCV) from writing to the person's stderr.

    They write to file descriptor 2 behind Python's back. Our own words go on through a copy of it.
    Python's own warnings (Pillow's on odd image files) are not for the person either.
    """
    warnings.simplefilter("ignore")
    python_stderr = sys.stderr
    try:
        real = os.dup(2)
    except OSError:  # closed by the caller: there is nothing to keep quiet
        yield
        return
    null = os.open(os.devnull, os.O_WRONLY)
    try:
        sys.stderr = os.fdopen(os.dup(real), "w", buffering=1, errors="backslashreplace")
        os.dup2(null, 2)
        yield
    finally:
        sys.stderr.close()
        sys.stderr = python_stderr
        os.dup2(real, 2)
        os.close(real)
        os.close(null)


@contextlib.contextmanager
def signals_unwind() -> Iterator[None]:
    """Let SIGTERM, and SIGHUP unless it is ignored, unwind like Ctrl+C: temporary files go."""

    def stop(_number: int, _frame: FrameType | None) -> None:
        raise KeyboardInterrupt

    numbers = [signal.SIGTERM, *([signal.SIGHUP] if hasattr(signal, "SIGHUP") else [])]
    heard = [n for n in numbers if signal.getsignal(n) is not signal.SIG_IGN]  # as under nohup
    before = {number: signal.signal(number, stop) for number in heard}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def say(text: str) -> None:
    """Print one clean line on stdout, whatever names it holds."""
    print(one_line(text, _LONGEST_LINE))


def hint(text: str) -> None:
    """Tell a person at a terminal what may be wrong; programs see nothing of it."""
    if sys.stderr is not None and sys.stderr.isatty():
        print(one_line(text), file=sys.stderr)


def prepare_stdout() -> None:
    """Let names that the terminal's encoding lacks be shown escaped, instead of failing."""
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")


def flush_stdout() -> None:
    """Write out what was printed while an error can still be told from success."""
    if sys.stdout is not None:
        sys.stdout.flush()


def drop_stdout() -> None:
    """Forget what could not be written, so that the interpreter's end does not try again."""
    with contextlib.suppress(OSError, ValueError):
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
