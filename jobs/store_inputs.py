"""From a run's row to the files it works on."""

from __future__ import annotations

from pathlib import Path

from sqlalchemy import select
from sqlalchemy.orm import Session

from config import Limits
from jobs.files import JobFiles
from jobs.models import LEARN, Revision, Run, Span
from jobs.options import Mode
from jobs.plan import RunInputs
from jobs.run_views import options_from


def export_path(session: Session, files: JobFiles, job_id: str, number: int) -> Path:
    """Where the export of one revision lies."""
    revision = session.get_one(Revision, (job_id, number))
    return files.revision(job_id, number) / revision.file


def inputs_of(session: Session, files: JobFiles, run: Run, limits: Limits) -> RunInputs:
    """What a run was planned on."""
    previous = report = None
    if run.previous_run is not None:
        before = _previous_run(session, run)
        previous = files.result(run.job_id, before.revision, before.number)
        report = files.report(run.job_id, before.revision, before.number)
    return RunInputs(
        annotations=export_path(session, files, run.job_id, run.revision),
        images=export_path(session, files, run.job_id, run.images_revision),
        previous=previous,
        options=options_from(run.options),
        engine=run.engine,
        ignore_labels=frozenset(run.ignore_labels),
        limits=limits,
        previous_report=report,
    )


def learned_path(session: Session, files: JobFiles, run: Run) -> Path | None:
    """The file with what a run's engine learned; None where it learned nothing, or not yet."""
    name = session.scalars(
        select(Span.file).where(Span.run_id == run.id, Span.direction == LEARN)
    ).one_or_none()
    return files.spans(run.job_id, run.revision, run.number) / name if name else None


def earlier_path(session: Session, files: JobFiles, run: Run) -> Path | None:
    """The file with what the run that a re-segmentation builds on had learned, as far as known."""
    if run.previous_run is None or options_from(run.options).mode is not Mode.RESEGMENT:
        return None
    return learned_path(session, files, _previous_run(session, run))


def _previous_run(session: Session, run: Run) -> Run:
    return session.scalars(
        select(Run).where(Run.job_id == run.job_id, Run.number == run.previous_run)
    ).one()
