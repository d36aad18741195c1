"""Sequences: videos and folders of images that become jobs without any CVAT.

One that is opened for the first time, or that changed on disk since, is read into an archive (see
`jobs.sequence_reading`), which then becomes a revision of its job in one transaction: a job appears
whole or not at all.
"""

from __future__ import annotations

import shutil
from dataclasses import dataclass, replace
from hashlib import sha256
from pathlib import Path
from typing import Any, BinaryIO

from sqlalchemy import select
from sqlalchemy.orm import Session

from config import Settings
from cvat_io.sequence import (
    VIDEO_SUFFIXES,
    Found,
    SequenceKind,
    find_sequence,
    find_sequences,
    is_name,
    stamp_of,
)
from cvat_io.sequence_archive import LABELS, Made
from errors import ConflictError, InputError, NotFoundError, one_line
from jobs import audit
from jobs.db import Database
from jobs.files import hash_file
from jobs.models import Job, Revision
from jobs.receive import Receiver
from jobs.sequence_drawn import Drawn
from jobs.sequence_reading import KIND as KIND
from jobs.sequence_reading import Progress, Reading
from jobs.store import Received, job_id_for, latest_revision
from jobs.uploads import NoRoomError

_KEEP_FREE = 256 * 2**20  # bytes
_ZIP = ".zip"


@dataclass(frozen=True, slots=True, kw_only=True)
class SequenceView:
    """One sequence and how far it is.

    `kind`: "images" or "video". `origin`: "folder" (SEQUENCES_PATH) or "upload". `state`: "new",
    "making", "ready" or "failed"; `error` says why. `job`: its id once there is one, else empty;
    while a changed one is read again, the job is that of before. `frames`: 0 until it is known.
    `done` of `total` frames are read (`total` is about right, or 0).
    """

    name: str
    kind: str
    origin: str
    state: str
    job: str
    frames: int
    width: int
    height: int
    done: int
    total: int
    error: str


class Sequences:
    """The sequences of one installation. Thread-safe, and safe between servers.

    `drawn`: what becomes of what was drawn in them.
    """

    def __init__(self, settings: Settings, database: Database, receiver: Receiver) -> None:
        self._settings = settings
        self._database = database
        self._receiver = receiver
        self._root = settings.sequences_path
        self._reading = Reading(settings, self._adopt)
        self.drawn = Drawn(settings, database, receiver)

    def close(self) -> None:
        """End what is being read; what was uploaded waits for the next opening."""
        self._reading.close()

    def list_sequences(self, search: str = "") -> tuple[SequenceView, ...]:
        """All sequences, by name: those in SEQUENCES_PATH and those that were uploaded.

        `search`: a part of the name, case does not matter. Raises InputError where the folder
        cannot be read.
        """
        with self._database.read() as session:
            jobs = _jobs_of(session)
        views = {job_id: _ready(job_id, summary) for job_id, summary in jobs.items()}
        for found in find_sequences(self._root):
            job_id = id_of(found.name)
            views.setdefault(job_id, _new(found))
        for job_id, progress in self._reading.all().items():
            views[job_id] = _with(views.get(job_id), progress)
        wanted = search.casefold()
        return tuple(
            sorted(
                (view for view in views.values() if wanted in view.name.casefold()),
                key=lambda view: view.name.casefold(),
            )
        )

    def view(self, name: str) -> SequenceView:
        """One sequence. Raises NotFoundError."""
        job_id = id_of(name)
        with self._database.read() as session:
            summary = _summary_of(session, job_id)
        found = find_sequence(self._root, name)
        view = _ready(job_id, summary) if summary else _new(found) if found else None
        progress = self._reading.progress(job_id)
        if progress is not None:
            view = _with(view, progress)
        if view is None or view.name != name:
            raise _no_sequence(name)
        return view

    def open(self, name: str) -> SequenceView:
        """Make sure that a sequence is a job, and one of what lies on disk now.

        Returns at once; while `state` is "making", ask `view` how far it is. Raises NotFoundError,
        and InputError where its files cannot be read.
        """
        found, job_id = find_sequence(self._root, name), id_of(name)
        with self._database.read() as session:
            summary = _summary_of(session, job_id)
        if found is not None:
            stamp = stamp_of(found, self._root)
            if summary is None or summary["sequence"]["stamp"] != stamp:
                progress = Progress(name=name, kind=found.kind.value, origin="folder")
                self._reading.begin(job_id, progress, found.path, stamp)
        elif self._reading.has_upload(job_id):
            before = self._reading.progress(job_id)
            if before is not None and before.name == name:
                again = replace(before, state="making", done=0, error="")
                self._reading.begin(job_id, again, None, "")
        return self.view(name)

    def receive(self, name: str, stream: BinaryIO, length: int | None = None) -> SequenceView:
        """Take in a video, or a zip of images, and begin to read it; returns as `open` does.

        `name`: the file's name; a zip's sequence is called without the ending. Raises InputError
        for another kind of file and for bytes that do not arrive whole, ConflictError where
        SEQUENCES_PATH holds a sequence of that name or one of it is being read, NoRoomError.
        """
        plain, kind = _uploaded_name(name)
        job_id = id_of(plain)
        if find_sequence(self._root, plain) is not None:
            raise ConflictError(
                f'There is a sequence "{plain}" in SEQUENCES_PATH already: open that one, or '
                "upload the file under another name."
            )
        self._reading.sweep()
        self._require_room(name, length or 0)
        progress = Progress(name=plain, kind=kind.value, origin="upload")
        with self._receiver.spooled(name, stream, length) as upload:
            _require_kind(name, upload.path, kind)
            self._reading.put(job_id, progress, upload.path)
        self._reading.begin(job_id, progress, None, upload.sha256)
        return self.view(plain)

    def forget(self, name: str) -> None:
        """Give up an upload that could not be read; a job that came of an earlier one stays.

        Raises NotFoundError, and ConflictError while it is being read.
        """
        if self.view(name).state == "failed":
            self._reading.forget(id_of(name), name)

    def picture(self, name: str) -> Path:
        """A small JPEG file of a sequence's first frame, kept in DATA_DIR/cache.

        Raises NotFoundError where there is no such sequence in SEQUENCES_PATH, InputError where
        none can be read.
        """
        found = find_sequence(self._root, name)
        if found is None:
            raise _no_sequence(name)
        key = sha256(f"{name}\n{stamp_of(found, self._root)}".encode()).hexdigest()[:32]
        path = self._settings.data_dir / "cache" / "sequences" / key
        if not path.is_file():
            self._reading.picture(found, path)
        return path

    # -- inside ----------------------------------------------------------------------------------

    def _adopt(self, job_id: str, progress: Progress, made: Made, out: Path, stamp: str) -> None:
        """Let the archive be the job's latest revision."""
        summary = _summary(made, progress, stamp)
        received = Received(
            job_id=job_id,
            name=progress.name,
            source=progress.name,
            sha256=hash_file(out),
            bytes=out.stat().st_size,
            refused="",
            summary=summary,
            file="export.zip",
        )

        def settle(session: Session, _job_id: str) -> None:
            audit.record(session, "open sequence", job_id, progress.name)

        self._receiver.adopt(received, out, settle)
        with self._database.write() as session:  # the same frames in files of other times
            job = session.get(Job, job_id)
            latest = latest_revision(session, job) if job is not None else None
            if latest is not None and latest.sha256 == received.sha256:
                latest.summary = {**latest.summary, "sequence": summary["sequence"]}

    def _require_room(self, name: str, length: int) -> None:
        self._settings.data_dir.mkdir(parents=True, exist_ok=True)
        free = shutil.disk_usage(self._settings.data_dir).free
        if length + _KEEP_FREE > free:
            raise NoRoomError(
                f"{one_line(name, 120)} has {length} bytes, but only {free} are free on the "
                "server's disk: make room in DATA_DIR, then upload it again."
            )


def id_of(name: str) -> str:
    """The job's id of the sequence `name`; no archive's job can have one like it."""
    return f"_{job_id_for(name)}"


def require_drawn(revision: Revision) -> None:
    """Raise ConflictError for a sequence in which there is no mask to follow."""
    if revision.summary["kind"] == KIND and not revision.summary["key_frames"]:
        raise ConflictError(
            f"Nothing is drawn in {one_line(revision.source, 120)} that the queue could follow: "
            "open it in the studio, draw masks on at least one frame and press Queue there."
        )


def folder_of(job_id: str) -> str:
    """The name of the sequence's folder in RESULTS_PATH: safe, whatever the sequence is called."""
    return job_id.removeprefix("_")


def _uploaded_name(name: str) -> tuple[str, SequenceKind]:
    """What the sequence of an uploaded file is called, and what it is in."""
    suffix = Path(name).suffix.lower()
    plain = name[: -len(_ZIP)] if suffix == _ZIP else name
    if suffix != _ZIP and suffix not in VIDEO_SUFFIXES:
        raise InputError(
            f'"{one_line(name, 120)}" is neither a video nor a zip of images: give a file such as '
            "clip.mp4 or frames.zip."
        )
    if not is_name(plain):
        raise InputError(
            f'"{one_line(name, 120)}" is no name for a sequence: give the file a shorter one, '
            "without folders and special characters, such as clip.mp4."
        )
    return plain, SequenceKind.IMAGES if suffix == _ZIP else SequenceKind.VIDEO


def _require_kind(name: str, path: Path, kind: SequenceKind) -> None:
    with path.open("rb") as file:
        head = file.read(4)
    if not head:
        raise InputError(f"{one_line(name, 120)} is empty: choose another file.")
    if kind is SequenceKind.IMAGES and not head.startswith(b"PK"):
        raise InputError(f"{one_line(name, 120)} is no zip archive: zip the images again.")


def _jobs_of(session: Session) -> dict[str, dict[str, Any]]:
    rows = session.execute(
        select(Job.id, Revision.summary)
        .join(Revision, (Revision.job_id == Job.id) & (Revision.number == Job.revision))
        .where(Job.deleted.is_(False), Job.id.startswith("_", autoescape=True))
    )
    return {job_id: summary for job_id, summary in rows if summary["kind"] == KIND}


def _summary_of(session: Session, job_id: str) -> dict[str, Any] | None:
    job = session.get(Job, job_id)
    latest = latest_revision(session, job) if job is not None and not job.deleted else None
    return latest.summary if latest is not None and latest.summary["kind"] == KIND else None


def _summary(made: Made, progress: Progress, stamp: str) -> dict[str, Any]:
    return {
        "kind": KIND,
        "cvat_id": "",
        "has_images": True,
        "frames": made.frames,
        "first_frame": 0,
        "last_frame": made.frames - 1,
        "step": 1,
        "width": made.width,
        "height": made.height,
        "key_frames": [],
        "labels": [{"name": label.name, "color": label.color, "objects": 0} for label in LABELS],
        "warnings": [],
        "sequence": {
            "name": progress.name, "kind": progress.kind, "origin": progress.origin, "stamp": stamp,
        },
    }  # fmt: skip


def _ready(job_id: str, summary: dict[str, Any]) -> SequenceView:
    of = summary["sequence"]
    return SequenceView(
        name=of["name"], kind=of["kind"], origin=of["origin"], state="ready", job=job_id,
        frames=summary["frames"], width=summary["width"], height=summary["height"],
        done=summary["frames"], total=summary["frames"], error="",
    )  # fmt: skip


def _new(found: Found) -> SequenceView:
    return SequenceView(
        name=found.name, kind=found.kind.value, origin="folder", state="new", job="",
        frames=0, width=0, height=0, done=0, total=0, error="",
    )  # fmt: skip


def _with(view: SequenceView | None, progress: Progress) -> SequenceView:
    """What is known of a sequence, with how far its reading is."""
    if view is None:
        view = SequenceView(
            name=progress.name, kind=progress.kind, origin=progress.origin, state="", job="",
            frames=0, width=0, height=0, done=0, total=0, error="",
        )  # fmt: skip
    return replace(
        view, state=progress.state, done=progress.done, total=progress.total, error=progress.error
    )


def _no_sequence(name: str) -> NotFoundError:
    return NotFoundError(
        f'There is no sequence "{one_line(name, 120)}": put it into SEQUENCES_PATH, or upload it.'
    )
