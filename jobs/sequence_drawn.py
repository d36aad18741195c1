"""What was accepted of a sequence becomes a revision of its job, from which runs can start.

A sequence's own archive holds no masks. The key frames of its newest result, as a person drew them,
are written into an annotations file without images, as CVAT would export one; the images stay those
of the revision before.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import Any

from config import Limits, Settings
from cvat_io.atomic import replacing
from cvat_io.build import annotations_of
from cvat_io.model import MaskShape
from cvat_io.reader import open_export
from cvat_io.result import read_note
from errors import ConflictError, NotFoundError
from jobs import audit, store
from jobs.db import Database
from jobs.files import JobFiles, hash_file
from jobs.frames_text import noted_frames
from jobs.receive import Receiver
from jobs.sequence_reading import KIND
from jobs.session_start import has_other_frames
from jobs.store import Received, latest_revision, published_run


class Drawn:
    """Revisions of what was drawn in the studio. Thread-safe."""

    def __init__(self, settings: Settings, database: Database, receiver: Receiver) -> None:
        self._database = database
        self._files = JobFiles(settings.data_dir)
        self._receiver = receiver
        self._limits = settings.limits

    def keep(self, job_id: str) -> None:
        """Make the key frames of a sequence's newest result its latest revision.

        Does nothing where they are that already. Raises NotFoundError, and ConflictError for a job
        that is no sequence or has no result yet.
        """
        with self._database.read() as session:
            job = store.get_job(session, job_id)
            revision = latest_revision(session, job)
            run = published_run(session, job_id)
        if revision is None or revision.summary["kind"] != KIND:
            raise ConflictError(
                f"Job {job_id} is no sequence of the studio: start its runs as they are."
            )
        if run is None:
            raise ConflictError(
                f"Nothing of {job.name} is accepted yet: draw masks, accept them, and go to the "
                "queue then."
            )
        if has_other_frames(revision, run):
            raise ConflictError(
                f"{job.name} was changed on disk since masks of it were accepted: reset its "
                "frame-by-frame work, draw and accept again, and go to the queue then."
            )
        result = self._files.result(job_id, run.revision, run.number)
        if not result.is_file():
            raise NotFoundError(f"The result of run {run.number} of job {job_id} was removed.")
        path = self._files.temporary(".xml")
        try:
            found, counts = _write(result, path, self._limits)
            labels = [
                {**label, "objects": counts[label["name"]]} for label in revision.summary["labels"]
            ]
            received = Received(
                job_id=job_id,
                name=job.name,
                source=job.name,
                sha256=hash_file(path),
                bytes=path.stat().st_size,
                refused="",
                summary={**revision.summary, **found, "labels": labels},
                file="export.xml",
            )
            self._receiver.adopt(received, path, lambda _session, _job_id: None)
        finally:
            path.unlink(missing_ok=True)
        audit.note(self._database, "keep", job_id, f"the key frames of run {run.number}")


def _write(result: Path, out: Path, limits: Limits) -> tuple[dict[str, Any], Counter[str]]:
    """Write the masks of a result's key frames.

    Returns what a revision's summary says of them, and how many there are of each label.
    """
    with open_export(result, limits) as archive:
        keys = set(noted_frames(read_note(result), archive.meta.frames, result.name) or ())
        masks = [
            replace(shape, source="manual", track="", group_id=0)
            for shape in archive.tracks()
            if isinstance(shape, MaskShape) and shape.frame in keys
        ]
        with replacing(out) as file:
            for part in annotations_of(archive.meta, masks):
                file.write(part if isinstance(part, bytes) else part.encode())
    keys_drawn = sorted({mask.frame for mask in masks})
    return (
        {"has_images": False, "key_frames": keys_drawn},
        Counter(mask.label for mask in masks),
    )
