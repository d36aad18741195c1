"""Locks on files: they hold between threads, processes and machines that share a folder.

The system gives a lock back when its process dies, so that nothing has to be mended after a crash.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def locked(path: Path, *, wait: bool) -> Iterator[None]:
    """Hold the exclusive lock of the file `path`, which is made where it is not there.

    Raises BlockingIOError where somebody else holds it and `wait` is False.
    """
    with path.open("ab") as file:  # for writing: a network file system locks no other
        if sys.platform == "win32":
            import msvcrt
            import time

            while True:
                try:
                    file.seek(0)
                    msvcrt.locking(file.fileno(), msvcrt.LK_NBLCK, 1)
                    break
                except OSError as exc:
                    if not wait:
                        raise BlockingIOError(str(path)) from exc
                    time.sleep(0.1)
        else:
            import fcntl

            fcntl.flock(file, fcntl.LOCK_EX if wait else fcntl.LOCK_EX | fcntl.LOCK_NB)
        yield
