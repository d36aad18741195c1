"""Archives that arrive in pieces, over hours and through broken connections if need be.

The bytes lie in DATA_DIR/uploads/<id>.part, and the length of that file is how far an upload came:
no database is asked to believe more than the disk holds. Whoever writes to it, takes it in or
removes it holds the lock of <id>.lock, which the system gives back when its process dies. Once the
last byte is there the archive becomes a revision, in one transaction with its upload's row, so that
a crash at any moment leaves either an upload that the next question finishes or one that is done.
"""

from __future__ import annotations

import os
import re
import secrets
import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from sqlalchemy import Update, delete, select, update
from sqlalchemy.orm import Session

from config import Settings
from errors import ConflictError, InputError, NotFoundError, one_line
from jobs.db import Database, db_now
from jobs.files import JobFiles
from jobs.locks import locked
from jobs.models import PartialUpload
from jobs.receive import Receiver, TooLargeError, archive_name, require_size

KEPT_SECONDS = 24 * 3600.0  # an upload that nobody touched for longer is removed
_SPARE_BYTES = 64 * 2**20  # must stay free: the database lives on the same disk
_READ = 1 << 16  # bytes waited for at once: what a killed server loses is less than this
_ID = re.compile(r"[0-9a-f]{32}")


class BusyError(ConflictError):
    """Somebody else sends to this upload, or it is just being taken in (HTTP 423)."""


class NoRoomError(InputError):
    """The disk has not enough room for what was announced (HTTP 507)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class UploadView:
    """How far an upload came. `job` once it was taken in; `error`: why it was not."""

    id: str
    name: str
    bytes: int  # announced
    offset: int  # bytes that are here; the next piece begins with this one
    job: str
    error: str


class Uploads:
    """The uploads in pieces of one installation. Thread-safe, and safe between servers."""

    def __init__(self, settings: Settings, database: Database, receiver: Receiver) -> None:
        self._settings = settings
        self._database = database
        self._receiver = receiver
        self._folder = settings.data_dir / "uploads"

    def create(self, name: str, length: int) -> UploadView:
        """Begin the upload of the archive `name` of `length` bytes.

        Raises InputError for a name that is no .zip or .xml and for no bytes, TooLargeError beyond
        MAX_ARCHIVE_BYTES, NoRoomError where the disk is too full. Removes what is too old.
        """
        source = archive_name(name)
        if length == 0:
            raise InputError(f"{source} is empty: export it from CVAT again.")
        require_size(source, length, self._settings.limits.archive_bytes)
        self.sweep()
        self._folder.mkdir(parents=True, exist_ok=True)
        self._require_room(source, length)
        upload_id = secrets.token_hex(16)
        self._part(upload_id).open("xb").close()
        with self._database.write() as session:
            at = session.scalars(select(db_now())).one()
            row = PartialUpload(id=upload_id, name=source, bytes=length, created=at, updated=at)
            session.add(row)
            session.flush()
            return _view(row, 0)

    def view(self, upload_id: str) -> UploadView:
        """How far an upload came; takes it in where a crash came in between. Raises NotFoundError.

        An archive that cannot be taken in raises nothing here: its `error` says why.
        """
        view = self._look(upload_id)
        if view.offset < view.bytes or view.job or view.error:
            return view
        with suppress(BusyError, InputError), self._held(upload_id):
            return self._take_in(upload_id)
        return self._look(upload_id)

    def append(
        self, upload_id: str, offset: int, stream: BinaryIO, length: int | None
    ) -> UploadView:
        """Write what `stream` brings behind the first `offset` bytes; the last byte takes it in.

        `length`: how many bytes were announced for this piece, if that is known. Whatever arrives
        is kept and flushed, also where the stream ends early. Raises NotFoundError, BusyError while
        somebody else sends, ConflictError where `offset` is not how far the upload came,
        TooLargeError for bytes beyond its end, InputError where bytes were lost on the way or the
        whole is no archive, and OSError for what the disk refuses.
        """
        with self._held(upload_id):
            before = self._look(upload_id)
            if offset != before.offset:
                raise ConflictError(
                    f"The upload has {before.offset} bytes and not {offset}: go on from there."
                )
            left = before.bytes - offset
            if length is not None and length > left:
                raise TooLargeError(
                    f"{length} bytes are too many: only {left} of {before.bytes} bytes of "
                    f"{before.name} are missing."
                )
            if before.error:
                raise InputError(before.error)
            if before.job:
                return before
            arrived = _write(self._part(upload_id), offset, stream, left) if left else 0
            self._touch(upload_id)
            if arrived == left:
                return self._take_in(upload_id)
            if length is not None and arrived < length:
                raise InputError(
                    f"Only {arrived} of {length} bytes arrived: ask how far the upload came and "
                    "go on from there."
                )
            return self._look(upload_id)

    def remove(self, upload_id: str) -> None:
        """Forget an upload and its bytes; a job that came of it stays.

        Raises NotFoundError, and BusyError while somebody sends.
        """
        with self._held(upload_id):
            self._forget(upload_id)

    def sweep(self) -> None:
        """Remove uploads that nobody touched for a day, and what crashes left in our folders."""
        JobFiles(self._settings.data_dir).sweep()
        with self._database.read() as session:
            old = session.scalars(
                select(PartialUpload.id).where(PartialUpload.updated < db_now() - KEPT_SECONDS)
            ).all()
        for upload_id in old:
            with suppress(BusyError, NotFoundError), self._held(upload_id):
                self._forget(upload_id)
        self._sweep_strays()

    # -- inside ----------------------------------------------------------------------------------

    def _part(self, upload_id: str) -> Path:
        return self._folder / f"{upload_id}.part"

    @contextmanager
    def _held(self, upload_id: str) -> Iterator[None]:
        """Be the only one who changes this upload. Raises NotFoundError, BusyError."""
        self._row(upload_id)  # a lock is made only for an upload that there is
        try:
            with locked(self._folder / f"{upload_id}.lock", wait=False):
                yield
        except BlockingIOError as exc:
            raise BusyError(
                "Another connection sends to this upload, or it is just being checked: ask how "
                "far it came in a moment, and go on from there."
            ) from exc

    def _row(self, upload_id: str) -> PartialUpload:
        row = None
        if _ID.fullmatch(upload_id):
            with self._database.read() as session:
                row = session.get(PartialUpload, upload_id)
        if row is None:
            raise _gone(upload_id)
        return row

    def _look(self, upload_id: str) -> UploadView:
        # The file first: where it is gone because the upload was taken in, the row says so by then.
        size = None
        if _ID.fullmatch(upload_id):
            with suppress(FileNotFoundError), self._part(upload_id).open("rb") as file:
                # Opened, since only that makes a network file system look again.
                size = os.fstat(file.fileno()).st_size
        row = self._row(upload_id)
        if row.job_id or row.error:
            size = row.bytes
        if size is None:  # DATA_DIR was emptied, or is another one
            raise _gone(upload_id)
        return _view(row, size)

    def _take_in(self, upload_id: str) -> UploadView:
        """Make the whole upload a revision, unless it is one; its lock must be held.

        Raises InputError for what is no archive, which is remembered as the upload's error.
        """
        view, part = self._look(upload_id), self._part(upload_id)
        if view.job or view.error:
            return view

        def settle(session: Session, job_id: str) -> None:
            session.execute(_change(upload_id).values(job_id=job_id, updated=db_now()))

        try:
            self._receiver.take_in(view.name, part, settle)
        except InputError as exc:
            with self._database.write() as session:
                session.execute(_change(upload_id).values(error=str(exc), updated=db_now()))
            part.unlink(missing_ok=True)
            raise
        part.unlink(missing_ok=True)
        return self._look(upload_id)

    def _touch(self, upload_id: str) -> None:
        with self._database.write() as session:
            session.execute(_change(upload_id).values(updated=db_now()))

    def _forget(self, upload_id: str) -> None:
        with self._database.write() as session:
            session.execute(delete(PartialUpload).where(PartialUpload.id == upload_id))
        for suffix in (".part", ".lock"):
            (self._folder / f"{upload_id}{suffix}").unlink(missing_ok=True)

    def _sweep_strays(self) -> None:
        """Remove files of uploads that have no row: a crash, or another database, left them."""
        if not self._folder.is_dir():
            return
        with self._database.read() as session:
            known = set(session.scalars(select(PartialUpload.id)))
        for path in self._folder.iterdir():
            if not _ID.fullmatch(path.stem) or path.stem in known:
                continue
            with suppress(FileNotFoundError):  # another process sweeps too
                if time.time() - path.stat().st_mtime > KEPT_SECONDS:
                    path.unlink()

    def _require_room(self, source: str, length: int) -> None:
        free = shutil.disk_usage(self._folder).free
        if length + _SPARE_BYTES > free:
            raise NoRoomError(
                f"{source} has {length} bytes, but only {free} are free on the server's disk: make "
                "room in DATA_DIR, then upload it again."
            )


def _write(part: Path, offset: int, stream: BinaryIO, left: int) -> int:
    """Write at most `left` bytes at `offset`, flushed; returns how many. Raises OSError."""
    arrived = 0
    with part.open("r+b", buffering=0) as file:
        file.seek(offset)
        try:
            while arrived < left and (chunk := stream.read(min(_READ, left - arrived))):
                rest = memoryview(chunk)
                while rest:  # a disk that is nearly full takes a part
                    rest = rest[file.write(rest) :]
                arrived += len(chunk)
        finally:
            try:
                os.fsync(file.fileno())
            except OSError:
                # What the system could not put on the disk may read as if it were there.
                file.truncate(offset)
                raise
    return arrived


def _view(row: PartialUpload, offset: int) -> UploadView:
    return UploadView(
        id=row.id,
        name=row.name,
        bytes=row.bytes,
        offset=offset,
        job=row.job_id or "",
        error=row.error or "",
    )


def _change(upload_id: str) -> Update:
    return (
        update(PartialUpload)
        .where(PartialUpload.id == upload_id)
        .execution_options(synchronize_session=False)
    )


def _gone(upload_id: str) -> NotFoundError:
    return NotFoundError(
        f'There is no upload "{one_line(upload_id, 40)}" (any more): begin a new one.'
    )
