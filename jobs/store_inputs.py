"""From a run's row to the files it works on."""

from __future__ import annotations

from pathlib import Path

from sqlalchemy import select
from sqlalchemy.orm import Session

from config import Limits
from jobs.files import JobFiles
from jobs.models import Revision, Run
from jobs.plan import RunInputs
from jobs.store_views import options_from


def export_path(session: Session, files: JobFiles, job_id: str, number: int) -> Path:
    """Where the export of one revision lies."""
    revision = session.get_one(Revision, (job_id, number))
    return files.revision(job_id, number) / revision.file


def inputs_of(session: Session, files: JobFiles, run: Run, limits: Limits) -> RunInputs:
    """What a run was planned on."""
    previous = None
    if run.previous_run is not None:
        before = session.scalars(
            select(Run).where(Run.job_id == run.job_id, Run.number == run.previous_run)
        ).one()
        previous = files.result(run.job_id, before.revision, before.number)
    return RunInputs(
        annotations=export_path(session, files, run.job_id, run.revision),
        images=export_path(session, files, run.job_id, run.images_revision),
        previous=previous,
        options=options_from(run.options),
        engine=run.engine,
        ignore_labels=frozenset(run.ignore_labels),
        limits=limits,
    )
