"""What a job's session begins from: the newest published result, else the export itself."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

from sqlalchemy.orm import Session

from config import Settings
from errors import ConflictError
from jobs import store
from jobs.expect import AUTO
from jobs.files import JobFiles
from jobs.models import Job, Revision, Run
from jobs.options import Direction
from jobs.plan import RunPlan
from jobs.run_views import options_from
from jobs.sequence_reading import KIND
from jobs.session_base import BaseInputs, Scores
from jobs.session_models import LiveSession
from jobs.store_inputs import export_path, learned_path

AT_ONCE = "flow"
"""The engine of a session whose job has not been tracked yet: it learns nothing and begins at once.
"""

LEARNING = frozenset({"builtin", "builtin-fast", "builtin-best"})
"""Engines that learn a job's objects first; a test compares this with the workers' registry."""

FOLDER = "session"  # in the folder of the revision


@dataclass(frozen=True, slots=True, kw_only=True)
class Start:
    """Where a session begins. `run`: number of the result's run; None: the export of `revision`.

    `base`: name of its file in the session's folder; `learned`: path in the job's folder of what
    the engine has learned, "" for nothing.
    """

    revision: int
    images_revision: int
    run: int | None
    base: str
    engine: str
    learned: str


def find_start(session: Session, files: JobFiles, job: Job) -> Start:
    """Where a new session of the job begins. Raises ConflictError where there is nothing to see."""
    run, revision = store.published_run(session, job.id), store.latest_revision(session, job)
    if run is not None and not has_other_frames(revision, run):
        engine, learned = _engine(session, files, run)
        return Start(
            revision=run.revision,
            images_revision=run.images_revision,
            run=run.number,
            base=f"run-{run.number}.masks",
            engine=engine,
            learned=learned,
        )
    if revision is None or revision.refused:
        reason = revision.refused if revision is not None else "it is not here any more"
        raise ConflictError(f"The export of job {job.id} was refused: {reason}")
    images = revision.number
    if not revision.summary["has_images"]:
        images = store.images_revision(session, job.id, revision.summary) or images
    return Start(
        revision=revision.number,
        images_revision=images,
        run=None,
        base="export.masks",
        engine=AT_ONCE,
        learned="",
    )


def stale(session: Session, row: LiveSession) -> str:
    """A sentence where the job has something newer than the session began from, else ""."""
    job = store.get_job(session, row.job_id)
    run, latest = store.published_run(session, row.job_id), store.latest_revision(session, job)
    accepted = (row.accepted or {}).get("run", 0)
    if run is not None and has_other_frames(latest, run):
        run = None  # nobody wants masks of frames that are gone
    if run is not None and run.number > max(row.run or 0, accepted):
        return (
            f"Run {run.number} was completed since this session began: accept what you want to "
            "keep, then reset the session to begin anew from that result."
        )
    if latest is None or latest.refused or latest.number <= row.revision:
        return ""
    arrived = f"Revision {latest.number} of the export arrived since this session began"
    if run is None:
        return f"{arrived}: accept what you want to keep, then reset the session to begin anew."
    if latest.number <= run.revision:
        return f"{arrived}, and so did a result of it: reset the session to begin anew from that."
    return f"{arrived}: start a run of it, then reset the session to begin anew from its result."


def has_other_frames(latest: Revision | None, run: Run) -> bool:
    """Whether a sequence of the studio was changed on disk and read again since a run."""
    if latest is None or latest.number <= run.revision:
        return False
    return latest.summary["kind"] == KIND and bool(latest.summary["has_images"])


def base_path(files: JobFiles, row: LiveSession) -> Path:
    """Where the base of a session lies."""
    return files.revision(row.job_id, row.revision) / FOLDER / row.base


def images_path(session: Session, files: JobFiles, row: LiveSession) -> Path:
    """The archive with the frames of a session."""
    return export_path(session, files, row.job_id, row.images_revision)


def archive_path(session: Session, files: JobFiles, row: LiveSession) -> Path:
    """The archive whose masks a session began from."""
    if row.run is None:
        return export_path(session, files, row.job_id, row.revision)
    return files.result(row.job_id, row.revision, row.run)


def base_inputs(
    session: Session, files: JobFiles, settings: Settings, row: LiveSession
) -> BaseInputs:
    """What the base of a session is made of. Raises ConflictError where files are gone."""
    archive, images = archive_path(session, files, row), images_path(session, files, row)
    for path in (archive, images):
        if not path.is_file():
            raise ConflictError(
                f"The files of job {row.job_id} are not in {settings.data_dir}: upload its export "
                "again, or point DATA_DIR to the folder that holds them."
            )
    if row.run is None:
        summary = session.get_one(Revision, (row.job_id, row.revision)).summary
        return BaseInputs(
            archive=archive,
            images=images,
            keys=frozenset(summary["key_frames"]),
            filled=frozenset(),
            ignore_labels=settings.ignore_labels,
            limits=settings.limits,
            scores={},
        )
    run = store.published_run(session, row.job_id, row.run)
    if run is None:
        raise ConflictError(
            f"The result of run {row.run} of job {row.job_id}, from which this session began, was "
            "removed: reset the session."
        )
    plan = RunPlan.from_json(run.plan)
    keys = plan.key_frames
    forward = options_from(run.options).direction is Direction.FORWARD
    return BaseInputs(
        archive=archive,
        images=images,
        keys=frozenset(keys),
        filled=plan.fill,
        since=keys[0] if keys and forward else 0,
        ignore_labels=frozenset(run.ignore_labels),
        limits=settings.limits,
        scores=_scores(files.report(row.job_id, row.revision, row.run)),
    )


def _engine(session: Session, files: JobFiles, run: Run) -> tuple[str, str]:
    """The engine of a run and what it learned, where it can go on at once; else one that can."""
    if run.engine == AUTO:  # it had nothing to track, so that nobody settled which one that is
        return AT_ONCE, ""
    if run.engine not in LEARNING:
        return run.engine, ""
    path = learned_path(session, files, run)
    if path is None or not path.is_file():
        return AT_ONCE, ""
    return run.engine, str(path.relative_to(files.job(run.job_id)))


def _scores(report: Path) -> Scores:
    """The divergence of every mask that a report tells of; nothing where it is gone or damaged."""
    try:
        found = json.loads(report.read_bytes())["divergence"]
        return {
            (int(each["frame"]), int(each["object"])): (float(each["score"]), str(each["why"]))
            for each in found
        }
    except (OSError, ValueError, KeyError, TypeError):
        return {}
