"""What the server clears away while it runs: archives that were tracked, derived files.

An archive in the downloads folder goes once its result is published, where that was asked for.
Nothing is deleted on trust: the result is read again and compared with its checksum, and the
archive must still be the very content that was tracked. May be repeated at any time.

Only the process that watches the downloads folder does that: a worker may know another folder, or
none, by that setting. Where no server runs, what is due stays due until the next one does.
"""

from __future__ import annotations

import logging
import time
from pathlib import Path

from sqlalchemy import select

from config import Settings
from jobs.db import Database
from jobs.derived import Derived
from jobs.files import JobFiles, hash_file
from jobs.models import Job, Revision, Run
from jobs.store import touch

_SHRINK_SECONDS = 300.0  # between two looks at all derived files
_log = logging.getLogger(__name__)


class Shrinker:
    """Keeps derived files within MAX_CACHE_BYTES; looks now and then only."""

    def __init__(self, settings: Settings) -> None:
        self._derived = Derived(settings.data_dir)
        self._most = settings.cache_bytes
        self._looked: float | None = None  # by the monotonic clock

    def look(self) -> None:
        """Remove what is too much, unless the last look was a moment ago."""
        now = time.monotonic()
        if self._looked is None or now - self._looked >= _SHRINK_SECONDS:
            self._looked = now
            self._derived.shrink(self._most)


def delete_archives(settings: Settings, database: Database) -> None:
    """Do what is due for all runs that were started with `delete_zip`."""
    with database.read() as session:
        due = session.execute(
            select(Run, Revision)
            .join(Revision, (Revision.job_id == Run.job_id) & (Revision.number == Run.revision))
            .where(Run.delete_zip_due)
        ).all()
    for run, revision in due:
        text = _delete_archive(settings, run, revision)
        with database.write() as session:
            row = session.get(Run, run.id)
            if row is None or not row.delete_zip_due:
                continue
            row.delete_zip_due = False
            if session.get(Job, run.job_id) is not None:
                touch(session, run.job_id, log=text)


def _delete_archive(settings: Settings, run: Run, revision: Revision) -> str:
    """Delete one archive; returns the line for the job's log."""
    result = JobFiles(settings.data_dir).result(run.job_id, run.revision, run.number)
    archive = settings.downloads_path / revision.source
    try:
        if hash_file(result) != run.result_sha256:
            _log.error("%s is not what was published: %s stays.", result, archive)
            return f"{revision.source} was kept: the published result is not what was written."
    except OSError as exc:
        _log.error("%s cannot be read (%s): %s stays.", result, exc.strerror, archive)
        return f"{revision.source} was kept: the published result cannot be read ({exc.strerror})."
    try:
        before = _identity(archive)
        tracked = hash_file(archive) == revision.sha256
        # Reading a large one takes minutes, in which another may have taken its name.
        if not tracked or _identity(archive) != before:
            return f"{revision.source} was kept: it is not the export that was tracked any more."
        archive.unlink()
    except FileNotFoundError:
        return f"{revision.source} is not in the downloads folder (any more)."
    except OSError as exc:
        return f"{revision.source} could not be deleted from the downloads folder ({exc.strerror})."
    return f"{revision.source} deleted from the downloads folder, as asked for."


def _identity(path: Path) -> tuple[int, int, int, int]:
    """Which file this is, and in which state."""
    found = path.stat()
    return found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns
