"""Promise: what was done is kept: by a retry, a cancellation, a pause; and speeds are true."""

from __future__ import annotations

import pytest
from sqlalchemy import select, update

from errors import ConflictError
from jobs import store, store_runs
from jobs.models import Run, Span
from jobs.service import Jobs
from jobs.views import JobState, RunState, SpanState
from tests.worker.queue.kit import (
    claim,
    finish,
    must_claim,
    queue_run,
    the_run,
)
from worker import leases

TEN_FRAMES = b'{"span": 0}\n' + b'{"frame": 1, "masks": []}\n' * 10


def test_a_retry_learns_again_only_when_the_file_of_it_is_gone(jobs: Jobs) -> None:
    queue_run(jobs, "a", 1, learned=False)
    assert finish(jobs, must_claim(jobs))
    folder = jobs.files.spans("a", 1, 1)
    folder.mkdir(parents=True)
    (folder / "-1.jsonl").touch()
    jobs.cancel("a")
    assert [span.state for span in jobs.retry("a").spans][:2] == [SpanState.DONE, SpanState.QUEUED]
    (folder / "-1.jsonl").unlink()
    jobs.cancel("a")
    assert jobs.retry("a").spans[0].state is SpanState.QUEUED


def test_a_retry_does_not_learn_again_where_there_was_nothing_to_learn(jobs: Jobs) -> None:
    queue_run(jobs, "a", 1)
    jobs.cancel("a")
    assert jobs.retry("a").spans[0].state is SpanState.DONE


def test_the_speed_of_a_run_is_that_of_its_frames_not_of_learning(jobs: Jobs) -> None:
    queue_run(jobs, "a", 1, learned=False)
    learning = must_claim(jobs)
    with jobs.database.write() as session:
        session.execute(update(Run).values(started=Run.started - 1e6, resumed=Run.resumed - 1e6))
    assert finish(jobs, learning)
    with jobs.database.write() as session:
        lease = leases.claim(session, "w") or pytest.fail("no claim")
        assert leases.renew(session, lease, 5)
    assert the_run(jobs, "a").frames_per_second > 5 / 60


def test_states_and_progress_are_seen_while_spans_are_leased(jobs: Jobs) -> None:
    queue_run(jobs, "a", 2)
    lease = must_claim(jobs, "anna")
    with jobs.database.write() as session:
        assert leases.renew(session, lease, 7)
    with jobs.database.write() as session:
        assert leases.renew(session, lease, 3)
    run = the_run(jobs, "a")
    assert jobs.job("a").job.state is JobState.RUNNING
    assert (run.frames_done, run.frames_total, run.workers) == (7, 20, ("anna",))
    assert run.spans[1].state is SpanState.LEASED
    assert run.eta_seconds is not None


def test_a_retry_queues_only_what_is_not_done(jobs: Jobs) -> None:
    queue_run(jobs, "a", 3)
    first, second = must_claim(jobs), must_claim(jobs)
    assert finish(jobs, first)
    folder = jobs.files.spans("a", 1, 1)
    folder.mkdir(parents=True)
    (folder / "0.jsonl").write_bytes(TEN_FRAMES)
    with jobs.database.write() as session:
        leases.refuse(session, second, "No.")
    run = jobs.retry("a")
    assert run.state is RunState.QUEUED
    assert [span.state for span in run.spans[1:]] == [SpanState.DONE, *[SpanState.QUEUED] * 3]
    assert [must_claim(jobs).ordinal for _ in range(2)] == [1, 2]


def test_the_speed_after_a_retry_counts_from_the_retry(jobs: Jobs) -> None:
    queue_run(jobs, "a", 3)
    assert finish(jobs, must_claim(jobs))
    folder = jobs.files.spans("a", 1, 1)
    folder.mkdir(parents=True)
    (folder / "0.jsonl").write_bytes(TEN_FRAMES)
    with jobs.database.write() as session:
        leases.refuse(session, leases.claim(session, "w") or pytest.fail("no claim"), "No.")
        session.execute(update(Run).values(started=Run.started - 1e6))  # long ago
    jobs.retry("a")
    lease = must_claim(jobs)
    run = the_run(jobs, "a")
    assert run.frames_done == 10
    assert (run.frames_per_second, run.eta_seconds) == (0.0, None), "nothing can be said yet"
    with jobs.database.write() as session:
        assert leases.renew(session, lease, 5)
    run = the_run(jobs, "a")
    assert run.frames_per_second > 5 / 60
    assert run.eta_seconds is not None
    assert run.eta_seconds * run.frames_per_second == pytest.approx(15)


def test_a_retry_computes_again_what_is_done_but_whose_file_is_gone(jobs: Jobs) -> None:
    queue_run(jobs, "a", 2)
    assert finish(jobs, must_claim(jobs))
    with jobs.database.write() as session:
        leases.refuse(session, leases.claim(session, "w") or pytest.fail("no claim"), "No.")
    assert {span.state for span in jobs.retry("a").spans[1:]} == {SpanState.QUEUED}


def test_a_cancelled_run_gives_up_its_leases_and_keeps_what_is_done(jobs: Jobs) -> None:
    queue_run(jobs, "a", 3)
    first, second = must_claim(jobs), must_claim(jobs)
    assert finish(jobs, first)
    jobs.cancel("a")
    with jobs.database.write() as session:
        assert not leases.renew(session, second, 5)
    assert not finish(jobs, second)
    assert claim(jobs) is None
    assert the_run(jobs, "a").spans[1].state is SpanState.DONE


def test_a_deleted_job_takes_its_leases_along(jobs: Jobs) -> None:
    queue_run(jobs, "a", 1)
    lease = must_claim(jobs)
    jobs.delete_job("a")
    with jobs.database.write() as session:
        assert not leases.renew(session, lease, 5)
    assert not finish(jobs, lease)
    with jobs.database.read() as session:
        assert session.scalars(select(Run)).all() == []
        assert session.scalars(select(Span)).all() == []


def test_a_paused_run_gives_up_its_leases_and_goes_on_when_it_is_resumed(jobs: Jobs) -> None:
    queue_run(jobs, "a", 3)
    first, second = must_claim(jobs), must_claim(jobs)
    assert finish(jobs, first)
    assert jobs.pause("a").state is JobState.QUEUED
    assert the_run(jobs, "a").state is RunState.PAUSED
    with jobs.database.read() as session:
        assert not leases.is_held(session, second)
    assert not finish(jobs, second)
    assert claim(jobs) is None
    with (
        pytest.raises(ConflictError, match="paused: resume it or cancel it"),
        jobs.database.write() as session,
    ):
        store_runs.refuse_second_run(session, store.get_job(session, "a"))
    with pytest.raises(ConflictError, match="paused already"):
        jobs.pause("a")

    assert jobs.resume("a").state is RunState.QUEUED
    again = must_claim(jobs)
    assert (again.ordinal, again.attempts) == (1, 1), "pausing has used no attempt"
    assert the_run(jobs, "a").spans[1].state is SpanState.DONE
    with pytest.raises(ConflictError, match="nothing to resume"):
        jobs.resume("a")


def test_a_paused_run_can_be_cancelled(jobs: Jobs) -> None:
    queue_run(jobs, "a", 1)
    jobs.pause("a")
    assert jobs.cancel("a").state is JobState.FAILED
    assert claim(jobs) is None
    jobs.retry("a")
    assert must_claim(jobs).job_id == "a"


def test_a_retry_computes_again_what_lies_torn_on_the_disk(jobs: Jobs) -> None:
    queue_run(jobs, "a", 1)
    assert finish(jobs, must_claim(jobs))
    folder = jobs.files.spans("a", 1, 1)
    folder.mkdir(parents=True)
    (folder / "0.jsonl").write_bytes(TEN_FRAMES[:-30])
    jobs.cancel("a")
    assert jobs.retry("a").spans[1].state is SpanState.QUEUED


def test_a_paused_run_makes_room_for_a_new_revision(jobs: Jobs) -> None:
    queue_run(jobs, "a", 1)
    jobs.pause("a")
    with pytest.raises(ConflictError, match="paused already"):
        jobs.pause("a")
    with jobs.database.write() as session:
        store_runs.drop_paused(session, store.get_job(session, "a"))
    assert the_run(jobs, "a").state is RunState.CANCELLED
    with pytest.raises(ConflictError, match="nothing to resume"):
        jobs.resume("a")
