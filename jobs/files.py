"""Where things lie under DATA_DIR, and how a file is put there whole.

`jobs/<job>/<revision>/export.zip` (or export.xml), `jobs/<job>/<revision>/runs/<run>/` with
`spans/`, `result.zip` and `report.json`; `tmp/` holds what is still being received. All paths
follow from names and numbers: the database keeps none, so that every machine may mount DATA_DIR
wherever it likes.
"""

from __future__ import annotations

import os
import shutil
import time
import uuid
from collections.abc import Iterable
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path

from cvat_io.atomic import replacing

CHUNK = 1 << 20  # bytes read at once
_LARGEST_TIME = 2**63 - 1  # nanoseconds; file systems know times far beyond
_STALE_SECONDS = 24 * 3600.0  # what lies in tmp/ for longer belongs to nobody


@dataclass(frozen=True, slots=True)
class JobFiles:
    """The paths of all jobs under one DATA_DIR."""

    data_dir: Path

    @property
    def tmp(self) -> Path:
        """The folder for what is not whole yet; on the same file system as the jobs."""
        return self.data_dir / "tmp"

    def job(self, job_id: str) -> Path:
        """Everything of one job."""
        return self.data_dir / "jobs" / job_id

    def revision(self, job_id: str, revision: int) -> Path:
        """Everything of one revision."""
        return self.job(job_id) / str(revision)

    def run(self, job_id: str, revision: int, run: int) -> Path:
        """Everything of one run."""
        return self.revision(job_id, revision) / "runs" / str(run)

    def spans(self, job_id: str, revision: int, run: int) -> Path:
        """The folder of a run's span files."""
        return self.run(job_id, revision, run) / "spans"

    def result(self, job_id: str, revision: int, run: int) -> Path:
        """The published result of a run."""
        return self.run(job_id, revision, run) / "result.zip"

    def report(self, job_id: str, revision: int, run: int) -> Path:
        """What the run says of itself, as JSON."""
        return self.run(job_id, revision, run) / "report.json"

    def last_revision(self, job_id: str) -> int:
        """The largest revision number that has a folder; 0 where there is none.

        Numbers that another database once gave out under this DATA_DIR are not given out again:
        its files would be taken for those of the new revision (or run).
        """
        return _largest(self.job(job_id).glob("*"))

    def last_run(self, job_id: str) -> int:
        """The largest run number that has a folder; 0 where there is none."""
        return _largest(self.job(job_id).glob("*/runs/*"))

    def temporary(self, suffix: str) -> Path:
        """A new name in `tmp` (the folder is made, the file is not)."""
        self.tmp.mkdir(parents=True, exist_ok=True)
        return self.tmp / f"{uuid.uuid4().hex}{suffix}"

    def remove_job(self, job_id: str) -> None:
        """Remove all files of a job; nobody sees a half-removed folder."""
        folder = self.job(job_id)
        if not folder.is_dir():
            return
        grave = self.temporary(".gone")
        folder.rename(grave)
        shutil.rmtree(grave, ignore_errors=True)

    def sweep(self) -> None:
        """Remove what broken-off uploads and removals left in `tmp` a day or more ago."""
        if not self.tmp.is_dir():
            return
        for path in self.tmp.iterdir():
            try:
                stale = time.time() - path.stat().st_mtime > _STALE_SECONDS
            except FileNotFoundError:  # another process sweeps too
                continue
            if stale and path.is_dir():
                shutil.rmtree(path, ignore_errors=True)
            elif stale:
                path.unlink(missing_ok=True)


def stamp_of(path: Path) -> tuple[int, int]:
    """A file's size in bytes and its time in nanoseconds, as far as a database holds such times.

    Raises OSError.
    """
    state = path.stat()
    return state.st_size, max(-_LARGEST_TIME, min(state.st_mtime_ns, _LARGEST_TIME))


def _largest(paths: Iterable[Path]) -> int:
    return max((int(path.name) for path in paths if path.name.isdecimal()), default=0)


def copy_atomically(source: Path, target: Path) -> None:
    """Copy `source` to `target`, which appears (or is replaced) only once it is whole."""
    with source.open("rb") as reader, replacing(target) as writer:
        shutil.copyfileobj(reader, writer, CHUNK)


def sync_folder(folder: Path) -> None:
    """Make names in `folder` durable, where the system can."""
    if os.name != "posix":
        return
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def has_frames(span_file: Path, frames: int) -> bool:
    """Whether a finished span's file is there and has the records of so many frames."""
    try:
        with span_file.open("rb") as file:
            return sum(line.startswith(b'{"frame"') for line in file) >= frames if frames else True
    except OSError:
        return False


def hash_file(path: Path) -> str:
    """The SHA-256 of a file's content, in hexadecimal."""
    state = sha256()
    with path.open("rb") as file:
        while chunk := file.read(CHUNK):
            state.update(chunk)
    return state.hexdigest()
