"""Promise: a database of an earlier version is brought up to date with all that is in it.

It is made as that version made it: its migrations, its columns, runs in every state, and spans that
wait, are being computed, and are done.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest
from alembic import command
from alembic.config import Config
from sqlalchemy import Connection, MetaData, Table, insert

import migrations
from config import Settings
from jobs.db import Database, database_url, open_database
from jobs.options import Priority
from jobs.plan import Origin, RunPlan
from jobs.service import Jobs
from jobs.spans import Passes, SpanPlan
from jobs.views import JobState, RunState, SpanState
from worker import leases

SUMMARY = {
    "kind": "job", "cvat_id": "1", "has_images": True, "frames": 31, "first_frame": 0,
    "last_frame": 30, "step": 1, "width": 32, "height": 24, "key_frames": [0], "warnings": [],
    "labels": [{"name": "car", "color": "#3d9be0", "objects": 1}],
}  # fmt: skip
OPTIONS: dict[str, Any] = {
    "mode": "initial", "engine": "flow", "frames": "", "direction": "both", "keyframes": "complete",
    "parallel_spans": 0, "reuse_previous": False, "delete_zip": False,
}  # fmt: skip
PLAN = RunPlan(
    key_frames=(0,),
    spans=tuple(
        SpanPlan(
            ordinal=number, start=10 * number + 1, stop=10 * number + 10,
            direction=Passes.FORWARD, anchors=(0,), frames_total=10,
        )
        for number in range(3)
    ),
    fill=None, carried=Origin.EXPORT,
)  # fmt: skip
LONG_AGO, FAR_AHEAD = 1.7e9, 9e9
Q, L, D, F = (state.value for state in SpanState)  # queued, leased, done, failed
RUNS: Mapping[str, tuple[str, Sequence[str]]] = {  # states of the run, and of its spans 0 to 3
    "waiting": ("queued", [Q, Q, Q, Q]),
    "running": ("running", [D, L, Q, Q]),
    "writing": ("running", [D, D, D, Q]),
    "done": ("done", [D, D, D, D]),
    "failed": ("failed", [D, F, Q, Q]),
    "cancelled": ("cancelled", [D, Q, Q, Q]),
}


@pytest.fixture
def settings(either_url: str, tmp_path: Path) -> Settings:
    return Settings(data_dir=tmp_path / "data", database_url=either_url)


@pytest.fixture(params=["0001", "0002"])
def version(request: pytest.FixtureRequest, settings: Settings) -> str:
    """The version of a database that holds something of everything."""
    settings.data_dir.mkdir()
    migrate(settings, "upgrade", request.param)
    database = Database(database_url(settings))
    with database.write() as session:
        populate(session.connection(), request.param)
    database.close()
    return str(request.param)


def migrate(settings: Settings, direction: str, revision: str) -> None:
    config = Config()
    config.set_main_option("script_location", str(next(iter(migrations.__path__))))
    database = Database(database_url(settings))
    with database.write() as session:
        config.attributes["connection"] = session.connection()
        getattr(command, direction)(config, revision)
    database.close()


def populate(connection: Connection, version: str) -> None:
    tables = MetaData()

    def add(name: str, /, **values: Any) -> int:
        table = Table(name, tables, autoload_with=connection)
        given = insert(table).values(values)
        if name not in {"runs", "spans"}:
            connection.execute(given)
            return 0
        return int(connection.execute(given.returning(table.c.id)).scalar_one())

    def add_job(name: str, *, run: int | None, deleted: bool = False, refused: str = "") -> None:
        add(
            "jobs", id=name, name=name, created=LONG_AGO, updated=LONG_AGO, changed=1,
            deleted=deleted, revision=1, run=run, runs_made=run or 0,
        )  # fmt: skip
        if not deleted:
            add(
                "revisions", job_id=name, number=1, sha256="ab" * 32, bytes=1000, received=LONG_AGO,
                source=f"{name}.zip", file="" if refused else "export.zip", refused=refused,
                summary=SUMMARY,
            )  # fmt: skip
            add("events", job_id=name, at=LONG_AGO, text=f"Revision 1 received ({name}.zip).")

    add_job("ready", run=None)
    add_job("refused", run=None, refused="It holds no masks.")
    add_job("deleted", run=2, deleted=True)
    for name, (state, spans) in RUNS.items():
        add_job(name, run=1)
        over = LONG_AGO + 9 if state in {"done", "failed", "cancelled"} else None
        later = {} if version == "0001" else {"resumed": LONG_AGO + 1, "frames_before": 0}
        run_id = add(
            "runs", job_id=name, number=1, revision=1, images_revision=1, previous_run=None,
            state=state, options=OPTIONS, engine="flow", ignore_labels=["HUD"], parallel_spans=0,
            plan=PLAN.to_json(), frames_total=30, created=LONG_AGO,
            started=None if state == "queued" else LONG_AGO + 1, finished=over,
            result_bytes=77 if state == "done" else 0, result_sha256="", delete_zip_due=False,
            error="It broke." if state == "failed" else "", **later,
        )  # fmt: skip
        for ordinal, span in enumerate(spans):
            result = ordinal == 3
            add(
                "spans", run_id=run_id, ordinal=ordinal, start=0 if result else 10 * ordinal + 1,
                stop=30 if result else 10 * ordinal + 10,
                direction="assemble" if result else "forward", state=span,
                attempts=0 if span == Q else 1, fence=0 if span == Q else 1,
                lease_until=FAR_AHEAD if span == L else None, worker="" if span == Q else "old",
                frames_done=10 * (span == D and not result), frames_total=0 if result else 10,
                seconds=1.5 if span == D else 0.0, stages={"flow": 1.0} if span == D else {},
                device="cpu" if span == D else "", error="",
                file=f"{ordinal}.1.jsonl" if span == D and not result else "",
            )  # fmt: skip
    add("workers", name="old", host="here", device="cpu", last_seen=LONG_AGO, doing="")
    add("notices", source="updates", line=0, text="Line 3 cannot be read.")
    add("arrivals", name="ready.zip", size=1000, mtime_ns=17)


def everything(jobs: Jobs) -> dict[str, Any]:
    """All jobs with all that is known of them, less what depends on the time of day."""
    found = {job.id: asdict(jobs.job(job.id)) for job in jobs.list_jobs().jobs}
    for detail in found.values():
        for run in filter(None, [detail["job"]["run"], *detail["runs"]]):
            del run["frames_per_second"], run["eta_seconds"]
    return found


def test_everything_is_still_there(settings: Settings, version: str) -> None:
    jobs = Jobs(settings)
    page = jobs.list_jobs()
    assert page.counts == {"ready": 1, "queued": 1, "running": 2, "completed": 1, "failed": 3}
    assert page.notices == ("Line 3 cannot be read.",)
    for name, (state, spans) in RUNS.items():
        detail = jobs.job(name)
        [run] = detail.runs
        assert run.state is RunState(state)
        assert [str(span.state) for span in run.spans] == list(spans)
        assert run.frames_done == 10 * list(spans[:3]).count(D)
        assert run.options.priority is Priority.NORMAL
        assert detail.log[0].text == f"Revision 1 received ({name}.zip)."
        assert detail.revisions[0].key_frames == (0,)
    assert jobs.job("done").job.results == (1,)
    assert jobs.job("refused").job.reason == "It holds no masks."
    assert jobs.job("ready").job.state is JobState.READY
    figures = jobs.figures()
    assert figures is not None
    assert (figures.spans_queued, figures.spans_leased) == (4 + 2 + 1, 1)
    jobs.close()


def test_work_goes_on_where_it_stood(settings: Settings, version: str) -> None:
    database = open_database(settings)
    claimed = []
    with database.write() as session:
        while (lease := leases.claim(session, "new")) is not None:
            claimed.append((lease.job_id, lease.ordinal))
            if lease.writes_result:
                assert leases.finish_run(
                    session, lease, sha256="", size=1, seconds=1.0, device="cpu"
                )
            else:
                assert leases.finish_span(
                    session, lease, file="x", seconds=1.0, stages={}, device="cpu"
                )
    assert sorted(claimed) == [
        ("running", 2),  # its span 1 is another worker's, and its result waits for that
        ("waiting", 0), ("waiting", 1), ("waiting", 2), ("waiting", 3),
        ("writing", 3),
    ]  # fmt: skip
    database.close()
    jobs = Jobs(settings)
    assert jobs.job("waiting").job.state is JobState.COMPLETED
    assert jobs.job("running").job.state is JobState.RUNNING
    assert jobs.retry("failed").state is RunState.QUEUED
    assert jobs.cancel("running").state is JobState.FAILED
    jobs.delete_job("cancelled")
    jobs.close()


def test_the_way_back_and_forth_again_keeps_everything(settings: Settings, version: str) -> None:
    jobs = Jobs(settings)
    before = everything(jobs)
    jobs.close()
    assert len(before) == len(RUNS) + 2
    migrate(settings, "downgrade", "0002")
    jobs = Jobs(settings)
    assert everything(jobs) == before
    with jobs.database.write() as session:
        assert leases.claim(session, "new") is not None
    jobs.close()
