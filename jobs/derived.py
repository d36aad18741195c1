"""Files that can be made again: scaled pictures, masks by frame. DATA_DIR/cache holds them.

They appear whole (written under another name and renamed), so that several servers and workers may
make the same one at once. What was not used for longest is removed when they grow too large.
"""

from __future__ import annotations

import os
import shutil
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO

from cvat_io.atomic import replacing
from errors import NotFoundError

_USED_SECONDS = 3600.0  # a file's time says to within so much when it was last used
_ROOM = 0.9  # of the limit: what is left after files were removed
_YOUNG_SECONDS = 600.0  # a younger file without its final name may still be written


class Derived:
    """The folder of one installation. Thread-safe."""

    def __init__(self, data_dir: Path) -> None:
        self._root = data_dir / "cache"
        self._lock = threading.Lock()
        self._making: dict[Path, tuple[threading.Lock, int]] = {}

    def path(self, job_id: str, name: str) -> Path:
        """Where a job's derived file of this name (with "/" for folders) lies, or would."""
        return self._root / job_id / name

    def make(self, path: Path, write: Callable[[IO[bytes]], None]) -> Path:
        """Return `path`, written by `write` first where it is not there.

        Whoever asks for a file that is being made by this process waits for it. What `write` raises
        passes through, as does OSError of the disk; NotFoundError where the job is deleted
        meanwhile.
        """
        if self.used(path):
            return path
        with self._only_one(path):
            if not path.exists():
                path.parent.mkdir(parents=True, exist_ok=True)
                try:
                    with replacing(path) as file:
                        write(file)
                except FileNotFoundError as exc:
                    if path.parent.exists():
                        raise
                    job_id = path.relative_to(self._root).parts[0]
                    raise NotFoundError(f"Job {job_id} was deleted meanwhile.") from exc
        return path

    def used(self, path: Path) -> bool:
        """Whether the file is there; notes that it is used."""
        try:
            if time.time() - path.stat().st_mtime > _USED_SECONDS:
                with suppress(OSError):  # a share that is read-only
                    os.utime(path)
            return True
        except OSError:
            return False

    def remove_job(self, job_id: str) -> None:
        """Remove all that was derived of a job."""
        shutil.rmtree(self._root / job_id, ignore_errors=True)

    def shrink(self, most_bytes: int) -> None:
        """Remove what was not used for longest until all takes `most_bytes` at most.

        What a process that was killed left half written goes too.
        """
        files = sorted(self._files())
        total = sum(size for _, size, _ in files)
        if total <= most_bytes:
            return
        for _, size, path in files:
            if total <= most_bytes * _ROOM:
                break
            with suppress(OSError):
                path.unlink()
            total -= size

    def _files(self) -> Iterator[tuple[float, int, Path]]:
        now = time.time()
        for folder, _, names in os.walk(self._root):
            for name in names:
                path = Path(folder) / name
                with suppress(OSError):
                    state = path.stat()
                    if not name.startswith("."):
                        yield state.st_mtime, state.st_size, path
                    elif now - state.st_mtime > _YOUNG_SECONDS:
                        path.unlink()

    @contextmanager
    def _only_one(self, path: Path) -> Iterator[None]:
        with self._lock:
            lock, waiting = self._making.get(path, (threading.Lock(), 0))
            self._making[path] = lock, waiting + 1
        try:
            with lock:
                yield
        finally:
            with self._lock:
                lock, waiting = self._making[path]
                if waiting == 1:
                    del self._making[path]
                else:
                    self._making[path] = lock, waiting - 1
