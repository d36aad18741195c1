"""Runs without files, and what workers do to their spans."""

from __future__ import annotations

from sqlalchemy import update

from jobs import store, store_runs
from jobs.db import db_now
from jobs.models import LEARN, Revision, Span
from jobs.options import Priority, RunOptions
from jobs.plan import Origin, RunPlan
from jobs.service import Jobs
from jobs.spans import Passes, SpanPlan
from jobs.views import RunView, SpanState
from worker import leases
from worker.leases import Lease


def queue_run(
    jobs: Jobs,
    name: str,
    spans: int,
    *,
    parallel: int = 0,
    learned: bool = True,
    priority: Priority = Priority.NORMAL,
) -> None:
    """Queue a run of `spans` spans of ten frames each, without any file behind it.

    `learned`: whether its engine is done with learning already (and needs no file).
    """
    with jobs.database.write() as session:
        job = store.claim_job_row(session, name, name)
        job.revision, summary = 1, {"first_frame": 0, "last_frame": 10 * spans}
        session.add(
            Revision(
                job_id=name,
                number=1,
                sha256="",
                bytes=0,
                received=0.0,
                source=f"{name}.zip",
                file="export.zip",
                summary={**_SUMMARY, **summary},
            )
        )
        session.flush()
        plan = RunPlan(
            key_frames=(0,),
            spans=tuple(
                SpanPlan(
                    ordinal=number,
                    start=10 * number + 1,
                    stop=10 * number + 10,
                    direction=Passes.FORWARD,
                    anchors=(0,),
                    frames_total=10,
                )
                for number in range(spans)
            ),
            fill=None,
            carried=Origin.EXPORT,
        )
        store_runs.add_run(
            session,
            job,
            store_runs.NewRun(
                revision=1,
                images_revision=1,
                previous_run=None,
                options=RunOptions(parallel_spans=parallel, priority=priority),
                engine="flow",
                ignore_labels=frozenset(),
                plan=plan,
            ),
        )
        if learned:
            session.execute(
                update(Span)
                .where(Span.direction == LEARN, Span.state == SpanState.QUEUED.value)
                .values(state=SpanState.DONE.value)
            )


_SUMMARY = {
    "kind": "job",
    "cvat_id": "1",
    "has_images": True,
    "frames": 1,
    "step": 1,
    "width": 8,
    "height": 8,
    "key_frames": [0],
    "labels": [],
    "warnings": [],
}


def claim(jobs: Jobs, worker: str = "w") -> Lease | None:
    with jobs.database.write() as session:
        return leases.claim(session, worker)


def must_claim(jobs: Jobs, worker: str = "w") -> Lease:
    lease = claim(jobs, worker)
    assert lease is not None
    return lease


def finish(jobs: Jobs, lease: Lease) -> bool:
    with jobs.database.write() as session:
        return leases.finish_span(
            session, lease, file=f"{lease.ordinal}.jsonl", seconds=1.0, stages={}, device="cpu"
        )


def publish(jobs: Jobs, lease: Lease) -> bool:
    with jobs.database.write() as session:
        return leases.finish_run(session, lease, sha256="x", size=1, seconds=0.1, device="cpu")


def expire(jobs: Jobs, lease: Lease) -> None:
    """Let a lease end, as if its worker had been silent for long."""
    with jobs.database.write() as session:
        session.execute(
            update(Span).where(Span.id == lease.span_id).values(lease_until=db_now() - 1)
        )


def return_expired(jobs: Jobs) -> int:
    with jobs.database.write() as session:
        return leases.return_expired(session)


def the_run(jobs: Jobs, job_id: str) -> RunView:
    return jobs.job(job_id).runs[0]
