"""Changes to jobs, revisions and runs: what happens inside one write transaction.

Every function takes the session of a `Database.write()` block. Whatever a reader could see goes
through `touch`, so that `changes` tells every reader about it exactly in the order of commits.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from hashlib import sha256
from typing import Any

from sqlalchemy import ColumnElement, case, delete, func, select, update
from sqlalchemy.orm import Session

from errors import NotFoundError
from jobs import label_text
from jobs.db import db_now
from jobs.models import (
    Counter,
    Event,
    Job,
    Notice,
    Revision,
    Run,
)
from jobs.session_models import LiveSession
from jobs.views import JobState, RunState

MAX_NOTICES = 20  # of one source

STATE: ColumnElement[str] = func.coalesce(
    select(
        case(
            (Revision.refused != "", JobState.FAILED.value),
            (Run.id.is_(None), JobState.READY.value),
            (Run.state == RunState.RUNNING.value, JobState.RUNNING.value),
            (Run.state == RunState.DONE.value, JobState.COMPLETED.value),
            (
                Run.state.in_([RunState.QUEUED.value, RunState.PAUSED.value]),
                JobState.QUEUED.value,
            ),
            else_=JobState.FAILED.value,
        )
    )
    .select_from(Revision)
    .outerjoin(Run, (Run.job_id == Revision.job_id) & (Run.number == Job.run))
    .where(Revision.job_id == Job.id, Revision.number == Job.revision)
    .correlate(Job)
    .scalar_subquery(),
    JobState.READY.value,
)
"""The box in which a job lies: it follows from its latest revision and that one's latest run."""

_PLAIN_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")


def job_id_for(stem: str) -> str:
    """The job's id for an archive's name without its ending: safe in URLs and as a folder.

    A plain name stays itself; any other becomes a slug and 8 hexadecimal digits of its hash, so
    that different names never meet.
    """
    if _PLAIN_ID.fullmatch(stem) and ".." not in stem and not stem.endswith("."):
        return stem
    slug = re.sub(r"[^A-Za-z0-9_-]+", "-", stem).strip("-_")[:48] or "job"
    return f"{slug}-{sha256(stem.encode('utf-8', 'surrogatepass')).hexdigest()[:8]}"


def touch(session: Session, job_id: str, *, log: str = "", progress: bool = False) -> None:
    """Tell readers that a job changed; call it last in a transaction.

    `log`: a line for the job's history. `progress`: only frames went on, so that the job keeps its
    place among the jobs and its box. Since writers take turns, numbers become visible in ascending
    order.
    """
    if log:
        session.add(Event(job_id=job_id, at=now(session), text=log))
    session.flush()
    changed = session.execute(
        update(Counter)
        .where(Counter.name == "changed")
        .values(value=Counter.value + 1)
        .returning(Counter.value)
    ).scalar_one()
    values: dict[str, Any] = {"changed": changed}
    if not progress:
        values["updated"] = db_now()
        values["state"] = STATE
    session.execute(
        update(Job)
        .where(Job.id == job_id)
        .values(values)
        .execution_options(synchronize_session=False)
    )


def get_job(session: Session, job_id: str) -> Job:
    """The job's row. Raises NotFoundError."""
    job = session.get(Job, job_id)
    if job is None or job.deleted:
        raise no_such_job(job_id)
    return job


def no_such_job(job_id: str) -> NotFoundError:
    """The error for a job's id that names none."""
    return NotFoundError(f'There is no job "{job_id}": see `relay jobs` or the dashboard.')


@dataclass(frozen=True, slots=True, kw_only=True)
class Received:
    """An export that lies whole on disk; `refused` is the sentence or empty."""

    job_id: str
    name: str  # without its ending
    source: str  # with its ending
    sha256: str
    bytes: int
    refused: str
    summary: dict[str, Any]
    file: str  # the name it is to get in the revision's folder; empty when refused


def claim_job_row(session: Session, job_id: str, name: str) -> Job:
    """The row of a job that may be new, or deleted before."""
    job = session.get(Job, job_id)
    if job is None:
        at = now(session)
        job = Job(id=job_id, name=name, created=at, updated=at, revision=0, runs_made=0)
        session.add(job)
        session.flush()
    elif job.deleted:
        job.deleted, job.created, job.name = False, now(session), name
    return job


def latest_revision(session: Session, job: Job) -> Revision | None:
    """The latest revision that still exists."""
    return session.get(Revision, (job.id, job.revision)) if job.revision else None


def add_revision(session: Session, job: Job, received: Received, taken: int = 0) -> int:
    """Record a new revision; the job waits for a start again. Returns its number.

    `taken`: the largest number for which there are files already (see `JobFiles.last_revision`).
    """
    job.revision = max(job.revision, taken) + 1
    job.run = None
    drawn = [label["name"] for label in received.summary["labels"] if label["objects"]]
    job.labels = label_text.written(drawn)
    session.add(
        Revision(
            job_id=job.id,
            number=job.revision,
            sha256=received.sha256,
            bytes=received.bytes,
            received=now(session),
            source=received.source,
            file=received.file,
            refused=received.refused,
            summary=received.summary,
        )
    )
    text = f"Revision {job.revision} received ({received.source})."
    if received.refused:
        text = f"Revision {job.revision} ({received.source}) refused: {received.refused}"
    touch(session, job.id, log=text)
    return job.revision


def images_revision(session: Session, job_id: str, summary: dict[str, Any]) -> int | None:
    """The latest revision whose images fit an export that came without.

    They fit when the frame range, the step and the size are the same.
    """
    keys = ("first_frame", "last_frame", "step", "frames")
    found = session.scalars(
        select(Revision)
        .where(Revision.job_id == job_id, Revision.refused == "")
        .order_by(Revision.number.desc())
    )
    for revision in found:
        other = revision.summary
        sizes = (summary["width"], summary["height"]), (other["width"], other["height"])
        same_size = sizes[0] == sizes[1] or 0 in sizes[0]
        if other["has_images"] and same_size and all(other[k] == summary[k] for k in keys):
            return revision.number
    return None


def same_in_cvat(session: Session, job_id: str, summary: dict[str, Any]) -> str | None:
    """The name of another job here that is the same job or task of CVAT, by its id and frames."""
    if not summary["cvat_id"]:
        return None
    of = Revision.summary
    return session.scalars(
        select(Job.name)
        .join(Revision, (Revision.job_id == Job.id) & (Revision.number == Job.revision))
        .where(
            Job.id != job_id,
            Job.deleted.is_(False),
            of["cvat_id"].as_string() == summary["cvat_id"],
            of["kind"].as_string() == summary["kind"],
            of["first_frame"].as_integer() == summary["first_frame"],
            of["frames"].as_integer() == summary["frames"],
        )
        .order_by(Job.created)
        .limit(1)
    ).one_or_none()


def published_run(session: Session, job_id: str, number: int | None = None) -> Run | None:
    """The run of that number if its result is published; without a number the latest such run."""
    wanted = select(Run).where(Run.job_id == job_id, Run.state == RunState.DONE.value)
    if number is not None:
        wanted = wanted.where(Run.number == number)
    return session.scalars(wanted.order_by(Run.number.desc()).limit(1)).one_or_none()


def delete_job(session: Session, job: Job) -> None:
    """Forget a job; what is left of its row only tells readers that it is gone."""
    session.execute(delete(LiveSession).where(LiveSession.job_id == job.id))
    session.execute(delete(Run).where(Run.job_id == job.id))
    session.execute(delete(Revision).where(Revision.job_id == job.id))
    session.execute(delete(Event).where(Event.job_id == job.id))
    job.deleted, job.run = True, None
    touch(session, job.id)


def set_notices(session: Session, source: str, texts: Sequence[str]) -> None:
    """Replace all notices of one source (see `fewer_notices`)."""
    session.execute(delete(Notice).where(Notice.source == source))
    session.add_all(
        Notice(source=source, line=number, text=text)
        for number, text in enumerate(fewer_notices(texts))
    )


def fewer_notices(texts: Sequence[str]) -> list[str]:
    """The first notices, and how many more there are: a page is for people."""
    if len(texts) <= MAX_NOTICES:
        return list(texts)
    return [*texts[:MAX_NOTICES], f"And {len(texts) - MAX_NOTICES} more."]


def notices_of(session: Session, source: str) -> list[str]:
    """What one source has to say."""
    return list(
        session.scalars(select(Notice.text).where(Notice.source == source).order_by(Notice.line))
    )


def current_run(session: Session, job: Job) -> Run | None:
    """The latest run on the latest revision."""
    if job.run is None:
        return None
    return session.scalars(
        select(Run).where(Run.job_id == job.id, Run.number == job.run)
    ).one_or_none()


def now(session: Session) -> float:
    """The database's time, in seconds since the epoch."""
    return session.scalars(select(db_now())).one()
