"""Promise: whatever happens to workers, the archive is the undisturbed one and little is redone."""

from __future__ import annotations

import os
import signal
import time

from bench.house import child_of
from bench.processes import wait_for
from bench.synthetic import write_job
from jobs import tally
from jobs.views import RunState, SpanState
from tests.faults.conftest import PER_KILL, Place, in_lane, installation


@in_lane(installation)
def test_killed_workers_are_replaced(place: Place) -> None:
    """One with its whole process group, of the other only the child that computes."""
    house = place.house
    one, two = house.workers("one", "two")
    exports = [
        write_job(place.tmp / f"{job}.zip", job=job, frames=80, keys=[0], milliseconds=40)
        for job in (101, 102)
    ]
    first, second = (house.submit(export) for export in exports)
    workers = {"one": one, "two": two}
    workers[house.holder(first)].kill()
    os.kill(child_of(workers[house.holder(second)]), signal.SIGKILL)
    house.workers("one", "two")
    for job_id, export in zip((first, second), exports, strict=True):
        place.same(job_id, export, again=PER_KILL)
        assert house.span(job_id).attempts == 2


@in_lane(installation)
def test_what_a_frozen_worker_brings_too_late_is_refused(place: Place) -> None:
    """It is frozen in its last frame, past its lease, and goes on when its successor is done."""
    house = place.house
    workers = dict(zip(("one", "two"), house.workers("one", "two"), strict=True))
    export = write_job(place.tmp / "103.zip", job=103, frames=6, keys=[0], milliseconds=700)
    late = _late_commits(place)
    job_id = house.submit(export)
    wait_for(lambda: any(b.frame == 5 for b in house.begun(103)), "the last frame", 60)
    frozen = workers[house.span(job_id).worker]
    frozen.send(signal.SIGSTOP)
    place.same(job_id, export, again=PER_KILL)
    assert house.span(job_id).attempts == 2
    before = house.jobs.result(job_id).read_bytes()
    frozen.send(signal.SIGCONT)
    wait_for(lambda: _late_commits(place) > late, "the late commit", 60)
    assert house.jobs.result(job_id).read_bytes() == before
    assert house.run(job_id).state is RunState.DONE


@in_lane(installation)
def test_a_stopped_worker_hands_back_at_the_next_frame(place: Place) -> None:
    house = place.house
    (one,) = house.workers("one")
    house.worker("two").kill()
    export = write_job(place.tmp / "104.zip", job=104, frames=60, keys=[0], milliseconds=100)
    job_id = house.submit(export)
    house.holder(job_id)
    asked = time.time()
    assert one.end() == 0
    span = house.span(job_id)
    assert (span.state, span.attempts) == (SpanState.QUEUED, 0)
    assert 0 < span.frames_done < span.frames_total
    assert len([b for b in house.begun(104) if b.at > asked]) <= 1
    house.workers("one", "two")
    place.same(job_id, export, again=0)


@in_lane(installation)
def test_a_cancelled_run_ends_with_the_frame_at_hand_and_a_retry_goes_on_from_it(
    place: Place,
) -> None:
    _interrupt(place, 105, place.house.jobs.cancel, place.house.jobs.retry)


@in_lane(installation)
def test_a_paused_run_ends_with_the_frame_at_hand_and_resuming_goes_on_from_it(
    place: Place,
) -> None:
    _interrupt(place, 106, place.house.jobs.pause, place.house.jobs.resume)


def _interrupt(place: Place, number: int, hold, go_on) -> None:
    """Two workers are at two spans; frames that begin after `hold` are counted."""
    house = place.house
    house.workers("one", "two")
    export = write_job(
        place.tmp / f"{number}.zip", job=number, frames=70, keys=[0, 34], milliseconds=60
    )
    job_id = house.submit(export)
    for ordinal in (0, 1):
        wait_for(
            lambda ordinal=ordinal: house.span(job_id, ordinal).state is SpanState.LEASED, "a span"
        )
    house.holder(job_id)
    hold(job_id)
    held = time.time()
    wait_for(lambda: not any(w.doing for w in house.jobs.workers()), "idle workers")
    after = [b for b in house.begun(number) if b.at > held]
    place.count(f"job {job_id}: {len(after)} frames begun after it was held, 2 allowed")
    assert len(after) <= 2, "one for each worker, which may just have looked"
    before = {path.name for path in house.jobs.files.spans(job_id, 1, 1).glob("*.jsonl")}
    assert before, "what was computed is kept"
    go_on(job_id)
    place.same(job_id, export, again=0)


def _late_commits(place: Place) -> int:
    with place.house.jobs.database.read() as session:
        return tally.counts(session).get(tally.LATE_COMMITS, 0)
