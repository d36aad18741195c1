"""Promise: workers serve runs in turn, fairly, and every span exactly once."""

from __future__ import annotations

import multiprocessing
import threading
from collections import Counter

from sqlalchemy import delete, select, update

from config import Settings
from jobs import turns
from jobs.db import Database, database_url, db_now
from jobs.models import LEARN, Run, Span
from jobs.options import Priority
from jobs.service import Jobs
from jobs.views import JobState, RunState, SpanState
from tests.worker.queue.kit import (
    claim,
    finish,
    must_claim,
    publish,
    queue_run,
    return_expired,
    the_run,
)
from worker import leases


def test_one_worker_serves_the_older_run_first_and_its_spans_in_order(jobs: Jobs) -> None:
    queue_run(jobs, "a", 2)
    queue_run(jobs, "b", 1)
    served = []
    while (lease := claim(jobs)) is not None:
        served.append((lease.job_id, lease.ordinal))
        assert publish(jobs, lease) if lease.writes_result else finish(jobs, lease)
    assert served == [("a", 0), ("a", 1), ("a", 2), ("b", 0), ("b", 1)]


def test_runs_share_the_workers(jobs: Jobs) -> None:
    queue_run(jobs, "a", 9)
    queue_run(jobs, "b", 9)
    queue_run(jobs, "c", 2)
    taken = [must_claim(jobs).job_id for _ in range(8)]
    assert Counter(taken) == {"a": 3, "b": 3, "c": 2}
    assert taken[:3] == ["a", "b", "c"]


def test_higher_priorities_come_first_and_who_sits_in_front_before_all(jobs: Jobs) -> None:
    for name, priority in zip("lnhi", ("low", "normal", "high", "interactive"), strict=True):
        queue_run(jobs, name, 2, priority=Priority(priority))
    assert [must_claim(jobs).job_id for _ in range(8)] == list("iihhnnll")


def test_nobody_starves_but_only_every_fourth_claim_is_out_of_turn(jobs: Jobs) -> None:
    queue_run(jobs, "old", 9, priority=Priority.LOW)
    queue_run(jobs, "new", 9, priority=Priority.HIGH)
    assert [must_claim(jobs).job_id for _ in range(4)] == ["new"] * 4, "it has not waited for long"
    _wait_since_long_ago(jobs, "old")
    assert [must_claim(jobs).job_id for _ in range(4)] == ["new", "new", "new", "old"]
    assert [must_claim(jobs).job_id for _ in range(2)] == ["new"] * 2, "its waiting began anew"


def test_who_sits_in_front_waits_for_no_one(jobs: Jobs) -> None:
    queue_run(jobs, "old", 9)
    queue_run(jobs, "panel", 8, priority=Priority.INTERACTIVE)
    _wait_since_long_ago(jobs, "old")
    assert [must_claim(jobs).job_id for _ in range(8)] == ["panel"] * 8


def _wait_since_long_ago(jobs: Jobs, job_id: str) -> None:
    long_ago = db_now() - turns.PATIENCE_SECONDS - 1
    with jobs.database.write() as session:
        session.execute(update(Run).where(Run.job_id == job_id).values(waiting_since=long_ago))


def test_a_lease_taken_away_by_hand_does_not_hold_up_its_run_either(jobs: Jobs) -> None:
    queue_run(jobs, "a", 1)
    must_claim(jobs)
    with jobs.database.write() as session:
        session.execute(update(Span).values(state=SpanState.QUEUED.value))
        session.execute(update(Span).where(Span.ordinal == -1).values(state=SpanState.DONE.value))
    return_expired(jobs)
    assert must_claim(jobs).job_id == "a"


def test_a_row_changed_by_hand_does_not_hold_up_its_run_for_ever(jobs: Jobs) -> None:
    queue_run(jobs, "a", 1)
    with jobs.database.write() as session:
        session.execute(update(Run).values(open=False))
    assert claim(jobs) is None
    with jobs.database.read() as session:
        assert leases.look(session).anything
    return_expired(jobs)
    assert must_claim(jobs).job_id == "a"


def test_the_result_is_written_only_when_all_spans_are_done(jobs: Jobs) -> None:
    queue_run(jobs, "a", 2)
    first, second = must_claim(jobs), must_claim(jobs)
    assert finish(jobs, first)
    assert claim(jobs) is None
    assert finish(jobs, second)
    last = must_claim(jobs)
    assert last.writes_result
    assert publish(jobs, last)
    assert jobs.job("a").job.state is JobState.COMPLETED
    assert jobs.job("a").job.results == (1,)


def test_nothing_of_a_run_begins_before_its_engine_has_learned(jobs: Jobs) -> None:
    queue_run(jobs, "a", 2, learned=False)
    queue_run(jobs, "b", 1, learned=False)
    first, second = must_claim(jobs, "anna"), must_claim(jobs, "bert")
    assert first.learns
    assert (first.job_id, first.doing) == ("a", "job a, learning the objects")
    assert (second.job_id, second.learns) == ("b", True), "others do the work of other runs"
    assert claim(jobs) is None
    run = the_run(jobs, "a")
    assert (run.state, run.learning, run.frames_done) == (RunState.RUNNING, True, 0)
    assert (run.workers, run.eta_seconds) == (("anna",), None)
    assert finish(jobs, first)
    assert [must_claim(jobs).ordinal for _ in range(2)] == [0, 1]
    assert not the_run(jobs, "a").learning
    assert claim(jobs) is None, "the other run still learns"


def test_runs_from_before_there_was_learning_wait_for_nothing(jobs: Jobs) -> None:
    queue_run(jobs, "a", 1)
    with jobs.database.write() as session:
        session.execute(delete(Span).where(Span.direction == LEARN))
    assert finish(jobs, must_claim(jobs))
    assert must_claim(jobs).writes_result


def test_a_run_never_has_more_spans_leased_than_it_allows(jobs: Jobs) -> None:
    queue_run(jobs, "a", 4, parallel=2)
    queue_run(jobs, "b", 1)
    taken = [must_claim(jobs) for _ in range(3)]
    assert [lease.job_id for lease in taken] == ["a", "b", "a"]
    assert claim(jobs) is None
    assert finish(jobs, taken[0])
    assert must_claim(jobs).job_id == "a"


def test_eight_processes_claim_every_span_exactly_once(jobs: Jobs, settings: Settings) -> None:
    for number in range(5):
        queue_run(jobs, f"job{number}", 12, parallel=2 if number == 0 else 0, learned=False)
    spawn = multiprocessing.get_context("spawn")
    queue = spawn.Queue()
    processes = [
        spawn.Process(target=_drain, args=(settings, f"w{number}", queue)) for number in range(8)
    ]
    for process in processes:
        process.start()
    taken = Counter(span for _ in processes for span in queue.get(timeout=120))
    for process in processes:
        process.join()
        assert process.exitcode == 0
    assert len(taken) == 5 * 14
    assert set(taken.values()) == {1}
    assert {job.state for job in jobs.list_jobs().jobs} == {JobState.COMPLETED}


def _drain(settings: Settings, worker: str, queue: multiprocessing.Queue[list[int]]) -> None:
    database = Database(database_url(settings))
    pause = threading.Event()
    mine = []
    while True:
        with database.write() as session:
            lease = leases.claim(session, worker)
        if lease is None:
            with database.read() as session:
                if not leases.look(session).anything:
                    leased = session.scalars(
                        select(Span.id).where(Span.state == SpanState.LEASED.value)
                    ).first()
                    if leased is None:
                        break
            pause.wait(0.01)  # others hold what stands in the way of the next claim
            continue
        mine.append(lease.span_id)
        with database.write() as session:
            if lease.writes_result:
                assert leases.finish_run(
                    session, lease, sha256="x", size=1, seconds=0.0, device="cpu"
                )
            else:
                assert leases.finish_span(
                    session, lease, file="x", seconds=0.0, stages={}, device="cpu"
                )
    queue.put(mine)
    database.close()
