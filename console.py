"""A person's terminal: progress, one-line complaints, silence from native libraries."""

from __future__ import annotations

import contextlib
import io
import os
import signal
import sys
import time
import warnings
from collections.abc import Iterator
from typing import TYPE_CHECKING

from errors import one_line

if TYPE_CHECKING:
    from types import FrameType

_LONGEST_LINE = 5000  # a path can be 4,096 characters
_LEARNING = "Learning the objects"
_HURRY_SECONDS = 3.0  # between two plain lines at least; short work needs none
_SILENT_SECONDS = 60.0  # between two plain lines at most


class Progress:
    """How far long work is, in plain lines on stderr: one at each tenth, but not in a hurry."""

    def __init__(self, what: str) -> None:
        self._what = what
        self._said = time.monotonic()
        self._tenths = 0

    def advance(self, done: int, total: int) -> None:
        """So many frames are done."""
        if self._due(done / total if total else 0.0):
            note(f"{self._what}: {done} of {total} frames ({done / total:.0%}).")

    def learn(self, share: str = "") -> None:
        """The engine learns the objects, before any frame is tracked; `share`: such as "40%"."""
        number = share.removesuffix("%")
        if self._due(int(number) / 100 if number.isdecimal() else 1.0):
            note(f"{_LEARNING} {share}".rstrip() + ".")

    def tell(self, sentence: str) -> None:
        """Say something else that a person should know."""
        note(sentence)

    def _due(self, share: float) -> bool:
        """Whether it is time for a line: a tenth more is done, or none was said for a minute."""
        silent = time.monotonic() - self._said
        tenths = int(share * 10 + 1e-6)
        self._tenths = min(self._tenths, tenths)  # it falls where other work begins
        if silent < _HURRY_SECONDS or (tenths == self._tenths and silent < _SILENT_SECONDS):
            return False
        self._said, self._tenths = time.monotonic(), tenths
        return True


@contextlib.contextmanager
def progress(what: str) -> Iterator[Progress]:
    """A progress bar on a terminal, a plain line now and then elsewhere."""
    if sys.stderr is None or not sys.stderr.isatty():
        yield Progress(what)
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
                bar.set_description(f"{_LEARNING} {share}".rstrip())

            def tell(self, sentence: str) -> None:
                bar.write(one_line(sentence), file=sys.stderr)

        yield Bar(what)


def note(sentence: str) -> None:
    """Print one line on stderr that is no complaint, for people and logs alike."""
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


def remark(text: str) -> None:
    """Tell whoever asked, on stderr, why nothing more was done; stdout is for answers."""
    if sys.stderr is not None:
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
