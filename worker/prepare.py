"""What a span needs beside its lease, read from the database."""

from __future__ import annotations

import errno
from dataclasses import dataclass
from pathlib import Path

from sqlalchemy import select, update
from sqlalchemy.orm import Session

from config import Limits, Settings
from jobs.db import Database
from jobs.files import JobFiles
from jobs.models import ASSEMBLE, LEARN, Run, Span
from jobs.notes import engine_notes
from jobs.options import RunOptions, require_fit
from jobs.plan import RunInputs, RunPlan
from jobs.run_views import options_from
from jobs.store import touch
from jobs.store_inputs import earlier_path, inputs_of, learned_path
from jobs.store_runs import tell
from tracker import engines, models, segmenters
from worker.leases import Lease
from worker.local import own_device


def spans_folder(files: JobFiles, lease: Lease) -> Path:
    """The folder of the run's spans, made where it is not there."""
    revision = files.revision(lease.job_id, lease.revision)
    if not revision.is_dir():  # a deleted job, or a share that is not mounted: make neither
        raise FileNotFoundError(errno.ENOENT, "The export is gone", str(revision))
    folder = files.spans(lease.job_id, lease.revision, lease.run_number)
    folder.mkdir(parents=True, exist_ok=True)
    return folder


@dataclass(frozen=True, slots=True, kw_only=True)
class Work:
    """All that one span needs beside its lease."""

    inputs: RunInputs
    plan: RunPlan
    began: float  # when the run started
    learned: Path | None  # the file with what the engine learned for this run
    earlier: Path | None  # the same of the run that this one builds on
    learning_seconds: float
    span_files: dict[int, str]  # names of finished spans' files, by ordinal
    devices: str  # what finished spans ran on
    notices: tuple[str, ...]  # what people were told of the run


def settle_engine(database: Database, settings: Settings, lease: Lease, device: str) -> None:
    """Make sure that a run has an engine, and that this worker has what that engine needs.

    The first worker settles what "auto" means, so that all spans use one engine; the job's log says
    which and why. `device`: as the worker was started with. Files and devices are looked at outside
    of any transaction: weights that were not compared before take seconds.

    Raises InputError, before anything runs, where the engine is none, its weights are missing or
    wrong, or those of the segmenter that doubtful frames are to be looked at with.
    """
    models.use_folder(settings.model_dir)
    with database.read() as session:
        run = session.get(Run, lease.run_id)
        name = run.engine if run is not None else ""
        options = options_from(run.options) if run is not None else RunOptions()
    if not name or lease.writes_result:
        return
    require_fit(options)
    if options.refine:
        segmenters.require(options.segmenter)
    if name != engines.AUTO:
        engines.require(name)
        return
    choice = engines.choose(lambda: own_device(device))
    engines.require(choice.name)
    with database.write() as session:
        settled = session.execute(
            update(Run)
            .where(Run.id == lease.run_id, Run.engine == engines.AUTO)
            .values(engine=choice.name)
            .returning(Run.job_id)
        ).scalar_one_or_none()
        if settled is not None:
            said = f"auto took {choice.name} for run {lease.run_number}: {choice.reason}."
            touch(session, settled, log=said[:1].upper() + said[1:])
            tell(session, lease.run_id, engine_notes(options, choice.name))


def prepare(session: Session, files: JobFiles, limits: Limits, run_id: int) -> Work | None:
    """Read what a span of the run needs, in a write transaction; None when the run is gone.

    `settle_engine` has been called before.
    """
    run = session.get(Run, run_id)
    if run is None:
        return None
    done = session.execute(
        select(Span.ordinal, Span.file, Span.device).where(
            Span.run_id == run.id, Span.direction.not_in((ASSEMBLE, LEARN)), Span.file != ""
        )
    ).all()
    learning = session.scalars(
        select(Span.seconds).where(Span.run_id == run.id, Span.direction == LEARN)
    ).one_or_none()
    return Work(
        inputs=inputs_of(session, files, run, limits),
        plan=RunPlan.from_json(run.plan),
        began=run.started or run.created,
        learned=learned_path(session, files, run),
        earlier=earlier_path(session, files, run),
        learning_seconds=learning or 0.0,
        span_files={row.ordinal: row.file for row in done},
        devices=", ".join(sorted({row.device for row in done})) or "cpu",
        notices=tuple(run.notices),
    )
