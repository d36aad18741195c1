"""What a span needs beside its lease, read from the database."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from sqlalchemy import select, update
from sqlalchemy.orm import Session

from config import Limits
from jobs.files import JobFiles
from jobs.models import ASSEMBLE, LEARN, Run, Span
from jobs.plan import RunInputs, RunPlan
from jobs.store_inputs import earlier_path, inputs_of, learned_path
from tracker import engines


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


def prepare(session: Session, files: JobFiles, limits: Limits, run_id: int) -> Work | None:
    """Read what a span of the run needs, in a write transaction; None when the run is gone."""
    # The first worker settles what "auto" means, so that all spans use one engine.
    session.execute(
        update(Run)
        .where(Run.id == run_id, Run.engine == engines.AUTO)
        .values(engine=engines.resolve(engines.AUTO).name)
    )
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
    )
