"""Promise: an export that kills every worker which opens it fails its own job, and no other."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from bench.house import child_of
from bench.services import RabbitMQ
from bench.synthetic import write_job
from jobs.views import RunState, SpanState
from tests.faults.conftest import PER_KILL, Place, in_lane, installation


@contextmanager
def one_worker(folder: Path, rabbitmq: RabbitMQ | None) -> Iterator[Place]:
    with installation(folder, rabbitmq) as place:
        yield place


@in_lane(one_worker)
def test_a_poisonous_export_is_given_up_while_others_complete(place: Place) -> None:
    house = place.house
    (worker,) = house.workers("one")
    poison = write_job(
        place.tmp / "301.zip", job=301, frames=20, keys=[0], milliseconds=25, deadly=[12]
    )
    good = write_job(place.tmp / "302.zip", job=302, frames=60, keys=[0], milliseconds=40)
    bad_id, good_id = house.submit(poison), house.submit(good)
    first = child_of(worker)
    place.same(good_id, good, again=0)
    house.wait_for_run(bad_id, RunState.FAILED, seconds=180)
    run = house.run(bad_id)
    assert "after 4 attempts (frames 1 to 19)" in run.error
    assert "\n" not in run.error
    span = house.span(bad_id)
    assert (span.state, span.attempts) == (SpanState.FAILED, 4)
    assert [frame.frame for frame in house.begun(301)].count(12) == 4, "it killed four times"
    assert child_of(worker) != first
    assert worker.running
    # Each attempt went on from the line that the one before it wrote last.
    again = len(house.begun(301)) - len({frame.frame for frame in house.begun(301)})
    place.count(f"job {bad_id}: {again} frames computed again by 4 attempts")
    assert again <= 3 * PER_KILL
