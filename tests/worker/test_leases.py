"""Promise: every span is worked on by one worker at a time, is finished once, and is never lost."""

from __future__ import annotations

import multiprocessing
import threading
from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from sqlalchemy import delete, select, update

from config import Settings
from jobs import store
from jobs.db import Database, database_url, db_now
from jobs.models import LEARN, Revision, Run, Span
from jobs.plan import Origin, RunPlan
from jobs.service import Jobs
from jobs.spans import Passes, SpanPlan
from jobs.views import JobState, RunOptions, RunState, RunView, SpanState
from worker import leases
from worker.leases import Lease


@pytest.fixture(params=["sqlite", pytest.param("postgresql", marks=pytest.mark.postgres)])
def settings(request: pytest.FixtureRequest, tmp_path: Path) -> Settings:
    """Either database; a broker that is not needed here."""
    url = request.getfixturevalue("postgres_url") if request.param == "postgresql" else ""
    return Settings(data_dir=tmp_path / "data", database_url=url)


@pytest.fixture
def jobs(settings: Settings) -> Iterator[Jobs]:
    opened = Jobs(settings)
    yield opened
    opened.close()


def queue_run(
    jobs: Jobs, name: str, spans: int, *, parallel: int = 0, learned: bool = True
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
            drawn=Origin.EXPORT,
            carried=Origin.EXPORT,
        )
        store.add_run(
            session,
            job,
            store.NewRun(
                revision=1,
                images_revision=1,
                previous_run=None,
                options=RunOptions(parallel_spans=parallel),
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


def test_older_runs_come_first_and_spans_in_order(jobs: Jobs) -> None:
    queue_run(jobs, "a", 2)
    queue_run(jobs, "b", 1)
    taken = [must_claim(jobs) for _ in range(3)]
    assert [(lease.job_id, lease.ordinal) for lease in taken] == [("a", 0), ("a", 1), ("b", 0)]
    assert claim(jobs) is None


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


def test_a_worker_that_vanishes_while_it_learns_is_replaced(jobs: Jobs) -> None:
    queue_run(jobs, "a", 1, learned=False)
    old = must_claim(jobs, "frozen")
    expire(jobs, old)
    assert return_expired(jobs) == 1
    new = must_claim(jobs, "fresh")
    assert (new.span_id, new.learns, new.attempts) == (old.span_id, True, 2)
    assert not finish(jobs, old), "and what it brings late is refused"
    assert finish(jobs, new)
    assert must_claim(jobs).ordinal == 0


def test_learning_that_fails_again_and_again_fails_the_run_and_a_retry_begins_there(
    jobs: Jobs,
) -> None:
    queue_run(jobs, "a", 1, learned=False)
    for _ in range(leases.MAX_ATTEMPTS):
        lease = must_claim(jobs)
        with jobs.database.write() as session:
            leases.fail_attempt(session, lease, "ValueError: boom")
    assert "4 attempts (learning the objects): ValueError: boom" in jobs.job("a").job.reason
    assert claim(jobs) is None
    jobs.retry("a")
    assert must_claim(jobs).learns


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


def test_runs_from_before_there_was_learning_wait_for_nothing(jobs: Jobs) -> None:
    queue_run(jobs, "a", 1)
    with jobs.database.write() as session:
        session.execute(delete(Span).where(Span.direction == LEARN))
    assert finish(jobs, must_claim(jobs))
    assert must_claim(jobs).writes_result


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


def test_a_run_never_has_more_spans_leased_than_it_allows(jobs: Jobs) -> None:
    queue_run(jobs, "a", 4, parallel=2)
    queue_run(jobs, "b", 1)
    taken = [must_claim(jobs) for _ in range(3)]
    assert [lease.job_id for lease in taken] == ["a", "a", "b"]
    assert claim(jobs) is None
    assert finish(jobs, taken[0])
    assert must_claim(jobs).job_id == "a"


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


def test_an_expired_lease_goes_back_and_its_late_commit_is_refused(jobs: Jobs) -> None:
    queue_run(jobs, "a", 1)
    old = must_claim(jobs, "frozen")
    expire(jobs, old)
    assert return_expired(jobs) == 1
    new = must_claim(jobs, "fresh")
    assert (new.span_id, new.attempts) == (old.span_id, 2)
    assert new.fence > old.fence
    with jobs.database.write() as session:
        assert not leases.renew(session, old, 10)
    assert not finish(jobs, old)
    assert the_run(jobs, "a").spans[1].worker == "fresh"
    assert finish(jobs, new)
    assert not finish(jobs, new), "and nothing is committed twice"


def test_a_lease_that_is_renewed_does_not_expire(jobs: Jobs) -> None:
    queue_run(jobs, "a", 1)
    lease = must_claim(jobs)
    expire(jobs, lease)
    with jobs.database.write() as session:
        assert leases.renew(session, lease, 1)
    assert return_expired(jobs) == 0


def test_a_span_handed_back_has_used_no_attempt(jobs: Jobs) -> None:
    queue_run(jobs, "a", 1)
    for _ in range(10):
        lease = must_claim(jobs)
        assert lease.attempts == 1
        with jobs.database.write() as session:
            assert leases.hand_back(session, lease, 3)


@pytest.mark.parametrize("silently", [False, True])
def test_a_poison_span_fails_only_its_own_run_and_after_the_last_attempt(
    jobs: Jobs, silently: bool
) -> None:
    queue_run(jobs, "poison", 2)
    queue_run(jobs, "sound", 1)
    good = None
    for attempt in range(1, leases.MAX_ATTEMPTS + 1):
        lease = must_claim(jobs)
        assert (lease.job_id, lease.ordinal, lease.attempts) == ("poison", 0, attempt)
        if good is None:
            good = must_claim(jobs)
            assert finish(jobs, good)
        if silently:
            expire(jobs, lease)
            return_expired(jobs)
        else:
            with jobs.database.write() as session:
                leases.fail_attempt(session, lease, "ValueError: boom")
    job = jobs.job("poison")
    assert job.job.state is JobState.FAILED
    assert "after 4 attempts" in job.job.reason
    assert ("stopped without a word" if silently else "ValueError: boom") in job.job.reason
    assert [span.state for span in job.runs[0].spans[1:]] == [
        SpanState.FAILED,
        SpanState.DONE,
        SpanState.QUEUED,
    ]
    assert must_claim(jobs).job_id == "sound"


def test_a_sentence_for_a_person_fails_the_run_at_once(jobs: Jobs) -> None:
    queue_run(jobs, "a", 2)
    lease = must_claim(jobs)
    with jobs.database.write() as session:
        assert leases.refuse(session, lease, "Frame 3 is no image: export again.")
    assert jobs.job("a").job.reason == "Frame 3 is no image: export again."
    assert claim(jobs) is None


def test_a_retry_queues_only_what_is_not_done(jobs: Jobs) -> None:
    queue_run(jobs, "a", 3)
    first, second = must_claim(jobs), must_claim(jobs)
    assert finish(jobs, first)
    folder = jobs.files.spans("a", 1, 1)
    folder.mkdir(parents=True)
    (folder / "0.jsonl").touch()
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
    (folder / "0.jsonl").touch()
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


def test_a_run_that_failed_still_takes_the_spans_that_others_were_computing(jobs: Jobs) -> None:
    queue_run(jobs, "a", 2)
    first, second = must_claim(jobs), must_claim(jobs)
    with jobs.database.write() as session:
        leases.refuse(session, first, "No.")
    assert finish(jobs, second)
    assert the_run(jobs, "a").state is RunState.FAILED
    assert the_run(jobs, "a").spans[2].state is SpanState.DONE


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
                if not leases.anything_to_do(session):
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


def test_workers_are_seen_until_they_sign_off(jobs: Jobs) -> None:
    with jobs.database.write() as session:
        leases.report(session, name="anna", host="h", device="cuda:0", doing="job 1, frames 1 to 2")
    with jobs.database.write() as session:
        leases.report(session, name="anna", host="h", device="cuda:0", doing="")
    (view,) = jobs.workers()
    assert (view.name, view.device, view.doing) == ("anna", "cuda:0", "")
    assert jobs.health().workers == 1
    with jobs.database.write() as session:
        leases.sign_off(session, name="anna", host="h")
    assert jobs.workers() == ()


def test_a_lease_is_measured_by_the_clock_of_the_database(jobs: Jobs) -> None:
    queue_run(jobs, "a", 1)
    lease = must_claim(jobs)
    with jobs.database.read() as session:
        left = session.scalars(
            select(Span.lease_until - db_now()).where(Span.id == lease.span_id)
        ).one()
    assert left is not None
    assert 0 < left <= leases.LEASE_SECONDS


def test_the_fence_of_a_claim_is_what_counts_not_the_name_of_the_worker(jobs: Jobs) -> None:
    queue_run(jobs, "a", 1)
    lease = must_claim(jobs, "same name")
    assert not finish(jobs, replace(lease, fence=lease.fence - 1))
    assert finish(jobs, lease)
