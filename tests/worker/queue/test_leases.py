"""Promise: every span is worked on by one worker at a time, is finished once, and is never lost."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from sqlalchemy import select, update

from jobs.db import db_now
from jobs.models import Span
from jobs.service import Jobs
from jobs.views import JobState, RunState, SpanState
from tests.worker.queue.kit import (
    claim,
    expire,
    finish,
    must_claim,
    queue_run,
    return_expired,
    the_run,
)
from tracker import models
from worker import leases, presence


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
    for attempt in range(1, leases.MAX_ATTEMPTS + 1):
        lease = must_claim(jobs)
        assert (lease.job_id, lease.ordinal, lease.attempts) == ("poison", 0, attempt)
        if attempt == 1:
            assert finish(jobs, must_claim(jobs))
            queue_run(jobs, "sound", 1)
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


def test_a_run_that_failed_still_takes_the_spans_that_others_were_computing(jobs: Jobs) -> None:
    queue_run(jobs, "a", 2)
    first, second = must_claim(jobs), must_claim(jobs)
    with jobs.database.write() as session:
        leases.refuse(session, first, "No.")
    assert finish(jobs, second)
    assert the_run(jobs, "a").state is RunState.FAILED
    assert the_run(jobs, "a").spans[2].state is SpanState.DONE


def test_workers_are_seen_until_they_sign_off(jobs: Jobs) -> None:
    with jobs.database.write() as session:
        presence.report(session, "anna", "h", "cuda:0", doing="job 1, frames 1 to 2")
    with jobs.database.write() as session:
        presence.report(session, "anna", "h", "cuda:0", doing="")
    (view,) = jobs.workers()
    assert (view.name, view.device, view.doing) == ("anna", "cuda:0", "")
    assert view.memory_bytes is not None
    assert 10e6 < view.memory_bytes < 100e9
    assert jobs.health().workers == 1
    with jobs.database.write() as session:
        presence.sign_off(session, name="anna", host="h")
    assert jobs.workers() == ()


def test_a_worker_says_which_engines_it_can_run(
    jobs: Jobs, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(models, "_folder", tmp_path)
    models.place("deaot-t").write_bytes(b"x")
    ours = presence.Presence("anna", "h", "cpu")
    with jobs.database.write() as session:
        ours.seat().report(session, doing="")
    (view,) = jobs.workers()
    assert {"builtin", "flow", "deaot-t"} <= set(view.engines)
    assert "deaot-s" not in view.engines


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


def test_a_lease_from_before_the_clock_was_set_back_ends_all_the_same(jobs: Jobs) -> None:
    queue_run(jobs, "a", 1)
    lease = must_claim(jobs)
    with jobs.database.write() as session:
        ahead = update(Span).where(Span.id == lease.span_id)
        session.execute(ahead.values(lease_until=db_now() + 3600))
    assert return_expired(jobs) == 1
    assert must_claim(jobs).span_id == lease.span_id


def test_a_smaller_limit_of_attempts_is_kept(jobs: Jobs) -> None:
    queue_run(jobs, "a", 1)
    with jobs.database.write() as session:
        lease = leases.claim(session, "w") or pytest.fail("no claim")
        assert leases.fail_attempt(session, lease, "ValueError: boom", max_attempts=1)
    assert "after 1 attempt " in jobs.job("a").job.reason
