"""Promise: requests of people who wait take turns, and what cannot help anybody holds nobody up."""

from __future__ import annotations

from pathlib import Path

from config import Settings
from jobs.db import Database
from jobs.options import RunOptions
from jobs.service import Jobs
from jobs.session_models import SessionStep
from jobs.sessions import Sessions
from jobs.views import JobState
from tests.helpers.clips import tiny_clip, write_clip
from tests.worker.loops import a_loop, running, wait_for
from tests.worker.test_live import sessions
from worker import live_leases

assert sessions  # the fixture


def test_a_play_gives_way_to_a_session_whose_turn_has_come_and_to_no_other(
    sessions: Sessions, database: Database
) -> None:
    sessions.view("264")

    def ask(number: int) -> None:
        step = SessionStep(
            job_id="264", kind="step", arguments={"from": 0, "to": number}, actor="",
            state="queued", created=0.0,
        )  # fmt: skip
        with database.write() as session:
            session.add(step)

    ask(1)
    with database.write() as session:
        lease = live_leases.claim(session, "other#1", "other", left_seconds=0.0)
    assert lease is not None
    ask(2)
    with database.read() as session:
        assert not live_leases.others_wait(session, "265", 0.1), "its own worker is at it"
    with database.write() as session:
        live_leases.end(session, lease)
    with database.read() as session:
        assert live_leases.others_wait(session, "265", 0.1)
        assert not live_leases.others_wait(session, "264", 0.1)


def test_a_request_that_nobody_waits_for_any_more_is_taken_back_unless_somebody_is_at_it(
    sessions: Sessions, database: Database
) -> None:
    sessions.view("264")
    step = SessionStep(
        job_id="264", kind="segment", arguments={}, actor="", state="queued", created=0.0
    )
    with database.write() as session:
        session.add(step)
    sessions.give_up("265", step.id)
    assert sessions.step("264", step.id)[0] == "queued"
    with database.write() as session:
        lease = live_leases.claim(session, "other#1", "other", left_seconds=0.0)
        assert lease is not None
    sessions.give_up("264", step.id)
    assert sessions.step("264", step.id)[0] == "leased"
    with database.write() as session:
        live_leases.hand_back(session, lease)
    sessions.give_up("264", step.id)
    assert sessions.step("264", step.id)[0] == "stopped"


def test_a_session_of_a_run_that_had_nothing_to_track_has_an_engine_that_begins_at_once(
    jobs: Jobs, settings: Settings, tmp_path: Path
) -> None:
    path = write_clip(tmp_path / "all.zip", tiny_clip(3), [0, 1, 2])
    with path.open("rb") as stream:
        jobs.receive("all.zip", stream)
    jobs.start_run("all", RunOptions(engine="auto"))
    with running(a_loop(settings, jobs.database)):
        wait_for(jobs, "all", JobState.COMPLETED)
    assert jobs.job("all").runs[0].engine == "auto"
    assert jobs.sessions.view("all").engine == "flow"
