"""Taking in an export: streamed to disk, hashed on the way, inspected, recorded as a revision.

What cannot be tracked is recorded too, as a refused revision whose sentence is the job's reason;
its bytes are not kept. What is no archive at all leaves nothing behind.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, replace
from hashlib import sha256
from pathlib import Path, PurePosixPath
from typing import Any, BinaryIO

from sqlalchemy.orm import Session

from config import Settings
from cvat_io.check import Inspection, inspect, require_trackable
from cvat_io.prompts import Kind
from errors import InputError, one_line
from jobs import audit
from jobs.db import Database
from jobs.files import CHUNK, JobFiles, copy_atomically, hash_file, sync_folder
from jobs.locks import locked
from jobs.models import Job
from jobs.store import (
    Received,
    add_revision,
    claim_job_row,
    images_revision,
    job_id_for,
    latest_revision,
    same_in_cvat,
    touch,
)
from jobs.store_runs import drop_paused
from jobs.views import LabelView

_ENDINGS = (".zip", ".xml")
_NO_MASKS = (
    "There is no mask to track: start the run with the option that turns rectangles or polygons "
    "into masks."
)
_NO_SUMMARY: dict[str, Any] = {
    "kind": "",
    "cvat_id": "",
    "has_images": False,
    "frames": 0,
    "first_frame": 0,
    "last_frame": 0,
    "step": 1,
    "width": 0,
    "height": 0,
    "key_frames": [],
    "labels": [],
    "warnings": [],
}


Settle = Callable[[Session, str], None]
"""Notes that an upload became (or is) the latest revision of a job, in the same transaction."""


class TooLargeError(InputError):
    """More bytes than are taken (HTTP 413)."""


@dataclass(frozen=True, slots=True)
class Upload:
    """An export's bytes as they came, under a temporary name."""

    path: Path
    sha256: str
    bytes: int


class Receiver:
    """Turns streams into revisions."""

    def __init__(self, settings: Settings, database: Database) -> None:
        self._settings = settings
        self._database = database
        self._files = JobFiles(settings.data_dir)

    def receive(self, name: str, stream: BinaryIO, length: int | None = None) -> str:
        """Take in one export and return its job's id.

        `name`: the archive's file name; folders before it are passed over. `length`: how many
        bytes were announced, if that is known. Raises InputError for a name that is no .zip or
        .xml, for too many or too few bytes, and for a body that is no archive at all.
        """
        source = archive_name(name)
        with self.spooled(source, stream, length) as upload, self._turn(source):
            return self._register(source, upload, _told(source, upload, _settle_nothing))

    @contextmanager
    def spooled(self, source: str, stream: BinaryIO, length: int | None = None) -> Iterator[Upload]:
        """The stream's bytes on disk and hashed, for as long as the block lasts."""
        limit = self._settings.limits.archive_bytes
        if length is not None:
            require_size(source, length, limit)
        # The ending is kept, since readers go by it.
        path = self._files.temporary(Path(source).suffix.lower())
        try:
            state, total = sha256(), 0
            with path.open("xb") as file:
                while chunk := stream.read(CHUNK):
                    total += len(chunk)
                    if total > limit:
                        raise _too_large(source, limit)
                    state.update(chunk)
                    file.write(chunk)
                file.flush()
                os.fsync(file.fileno())
            if length is not None and total != length:
                raise InputError(
                    f"Only {total} of {length} bytes of {source} arrived: send it again."
                )
            yield Upload(path, state.hexdigest(), total)
        finally:
            path.unlink(missing_ok=True)

    def register(self, source: str, upload: Upload) -> str:
        """Record the upload as a new revision of its job, unless it is the one already there.

        No person sent it: it was found.
        """
        with self._turn(source):
            return self._register(source, upload, _settle_nothing)

    def take_in(self, source: str, path: Path, settle: Settle) -> str:
        """Take in an archive that lies whole on our own disk; returns its job's id.

        `path` keeps its bytes, so that after a crash this can be called again; `settle` is called
        in the transaction that makes them a revision. Raises InputError for what is no archive.
        """
        with self._turn(source):
            link = self._files.temporary(Path(source).suffix.lower())
            try:
                _link_or_copy(path, link)
                upload = Upload(link, hash_file(link), link.stat().st_size)
                return self._register(source, upload, _told(source, upload, settle))
            finally:
                link.unlink(missing_ok=True)

    def adopt(self, received: Received, path: Path, settle: Settle) -> None:
        """Record an archive that we made ourselves, of a sequence, as a revision of its job.

        `path`: on the disk of DATA_DIR; it is moved, unless the latest revision is this content.
        """
        upload = Upload(path, received.sha256, received.bytes)
        with self._turn(received.source):
            if not self._is_known(received.job_id, upload, settle):
                self._record(received, upload, settle)

    @contextmanager
    def _turn(self, source: str) -> Iterator[None]:
        """Let uploads of one job become revisions in the order in which their last bytes came.

        Hashing and looking through a large one takes longer than a small one that ends after it.
        """
        job_id = job_id_for(Path(source).stem)
        # As many locks as ever needed, and not one for every job: they are never removed.
        number = sha256(job_id.encode()).hexdigest()[:2]
        folder = self._settings.data_dir / "uploads"
        folder.mkdir(parents=True, exist_ok=True)
        with locked(folder / f"turn-{number}.lock", wait=True):
            yield

    def _register(self, source: str, upload: Upload, settle: Settle) -> str:
        require_archive(source, upload)
        job_id = job_id_for(Path(source).stem)
        if self._is_known(job_id, upload, settle):
            return job_id
        found, refused = self._inspect(upload)
        suffix = Path(source).suffix.lower()
        received = Received(
            job_id=job_id,
            name=Path(source).stem,
            source=source,
            sha256=upload.sha256,
            bytes=upload.bytes,
            refused=refused,
            summary=_NO_SUMMARY if found is None else _summary(found),
            file="" if refused else f"export{suffix}",
        )
        if found is not None and not refused:
            received = self._judge(received, found)
        self._record(received, upload, settle)
        return job_id

    def _is_known(self, job_id: str, upload: Upload, settle: Settle) -> bool:
        """Whether the job's latest revision is this very content (and was taken)."""
        with self._database.write() as session:
            job = session.get(Job, job_id)
            latest = latest_revision(session, job) if job and not job.deleted else None
            if latest is None or latest.sha256 != upload.sha256 or latest.refused:
                return False
            # A database that outlived its DATA_DIR (or moved without it) gets the file back.
            if not (self._files.revision(job_id, latest.number) / latest.file).is_file():
                self._keep(upload, job_id, latest.number, latest.file)
            settle(session, job_id)
            touch(session, job_id, log=_unchanged(latest.number), progress=True)
            return True

    def _inspect(self, upload: Upload) -> tuple[Inspection | None, str]:
        try:
            found = inspect(upload.path, self._settings.limits, self._settings.ignore_labels)
        except InputError as exc:
            return None, _without_path(str(exc), upload.path)
        return found, ""

    def _judge(self, received: Received, found: Inspection) -> Received:
        """Refuse an export that reads well but cannot be tracked."""
        with self._database.read() as session:
            elsewhere = not found.has_images and (
                images_revision(session, received.job_id, received.summary) is not None
            )
        try:
            # Whether its shapes become masks is a choice of the run.
            shapes = any(kind in found.others_by_kind for kind in Kind)
            require_trackable(found, images_elsewhere=elsewhere, prompted=shapes)
        except InputError as exc:
            return replace(received, refused=str(exc), file="")
        if found.key_frames:
            return received
        warnings = [*received.summary["warnings"], _NO_MASKS]
        return replace(received, summary={**received.summary, "warnings": warnings})

    def _record(self, received: Received, upload: Upload, settle: Settle) -> None:
        with self._database.write() as session:
            settle(session, received.job_id)
            job = claim_job_row(session, received.job_id, received.name)
            latest = latest_revision(session, job)
            if (
                latest is not None
                and latest.sha256 == upload.sha256
                and latest.refused == received.refused
            ):
                touch(session, job.id, log=_unchanged(latest.number), progress=True)
                return
            if latest is None and received.file:
                received = _told_of_twin(session, received)
            drop_paused(session, job)
            taken = self._files.last_revision(job.id)
            number = add_revision(session, job, received, taken)
            if received.file:
                # Inside the transaction: a revision that readers can see has its file. A crash
                # in between leaves a file without a revision, and its number is passed over.
                self._keep(upload, job.id, number, received.file)

    def _keep(self, upload: Upload, job_id: str, number: int, name: str) -> None:
        """Move an upload to its revision's folder."""
        folder = self._files.revision(job_id, number)
        folder.mkdir(parents=True, exist_ok=True)
        upload.path.replace(folder / name)
        sync_folder(folder)


def require_size(source: str, length: int, limit: int) -> None:
    """Raise TooLargeError for an announced length beyond `limit`, both in bytes."""
    if length > limit:
        raise _too_large(source, limit)


def archive_name(name: str) -> str:
    """The archive's bare name. Raises InputError when it is neither a .zip nor an .xml."""
    bare = PurePosixPath(name.replace("\\", "/")).name
    path = Path(bare)
    if path.suffix.lower() not in _ENDINGS or not path.stem.strip(". "):
        raise InputError(
            f'"{name}" is no export: give a .zip (or .xml) that CVAT wrote as "CVAT for video 1.1".'
        )
    return bare


def require_archive(source: str, upload: Upload) -> None:
    """Raise InputError for a body that cannot be an export of any kind, such as a text or image."""
    with upload.path.open("rb") as file:
        head = file.read(64)
    if source.lower().endswith(".zip"):
        sound = head.startswith(b"PK")
    else:
        text = head.replace(b"\0", b"").removeprefix(b"\xef\xbb\xbf")
        text = text.removeprefix(b"\xff\xfe").removeprefix(b"\xfe\xff")
        sound = text.lstrip().startswith(b"<")
    if not sound:
        raise InputError(
            f"{source} is no export: its content is not {source[-3:].lower()}. Export the job from "
            f'CVAT as "CVAT for video 1.1" and send that file.'
        )


def _summary(found: Inspection) -> dict[str, Any]:
    meta = found.meta
    return {
        "kind": meta.kind.value,
        "cvat_id": meta.id,
        "has_images": found.has_images,
        "frames": len(meta.frames),
        "first_frame": meta.start_frame,
        "last_frame": meta.frames[-1] if len(meta.frames) else meta.stop_frame,
        "step": meta.step,
        "width": found.width or 0,
        "height": found.height or 0,
        "key_frames": list(found.key_frames),
        "labels": [
            asdict(
                LabelView(
                    name=label.name,
                    color=label.color,
                    objects=found.masks_by_label.get(label.name, 0),
                )
            )
            for label in meta.labels
            if label.parent is None
        ],
        "warnings": list(found.warnings),
    }


def _told_of_twin(session: Session, received: Received) -> Received:
    """Warn where CVAT's job is here already under another name, as of a browser's "264 (1).zip"."""
    twin = same_in_cvat(session, received.job_id, received.summary)
    if twin is None:
        return received
    summary = received.summary
    sentence = (
        f"{summary['kind'].capitalize()} {one_line(summary['cvat_id'], 40)} of CVAT is here "
        f'already as "{one_line(twin, 80)}": upload its exports under that name, as revisions of '
        "it, which a re-segmentation needs."
    )
    return replace(received, summary={**summary, "warnings": [*summary["warnings"], sentence]})


def _unchanged(number: int) -> str:
    return f"Received again without a change: revision {number} stays the latest."


def _told(source: str, upload: Upload, settle: Settle) -> Settle:
    """Settle, and note in the audit that somebody sent it."""

    def told(session: Session, job_id: str) -> None:
        settle(session, job_id)
        audit.record(session, "upload", job_id, f"{source}, {upload.bytes} bytes")

    return told


def _settle_nothing(_session: Session, _job_id: str) -> None:
    """Of an upload that no row follows."""


def _link_or_copy(source: Path, target: Path) -> None:
    """Give the bytes of `source` a second name, or copy them where the disk knows no links."""
    with suppress(OSError):
        os.link(source, target)
        return
    copy_atomically(source, target)


def _too_large(source: str, limit: int) -> TooLargeError:
    return TooLargeError(
        f"{source} is larger than the {limit} bytes that are taken: raise MAX_ARCHIVE_BYTES or "
        f"export fewer frames."
    )


def _without_path(sentence: str, path: Path) -> str:
    """Leave our temporary name out of a sentence that a person reads."""
    return sentence.replace(str(path), "the export").replace(path.name, "the export")
