"""Promise: a further machine needs DATA_DIR, DATABASE_URL and BROKER_URL, and nothing else."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from bench.services import RabbitMQ
from bench.synthetic import write_job
from tests.faults.conftest import PER_KILL, SERVICES, Place, in_lane, installation


@contextmanager
def machines(folder: Path, rabbitmq: RabbitMQ | None) -> Iterator[Place]:
    with installation(folder, rabbitmq) as place:
        yield place


@in_lane(machines, SERVICES)
def test_two_machines_share_a_job_and_a_dead_one_is_replaced(place: Place) -> None:
    """Each has a host name of its own, and DATA_DIR somewhere else."""
    if subprocess.run(["unshare", "--uts", "true"], stderr=subprocess.DEVNULL).returncode:
        pytest.skip("host names of one's own are not allowed here")
    house = place.house
    hosts = {"east": house.settings.data_dir, "west": place.tmp / "elsewhere" / "relay-data"}
    hosts["west"].parent.mkdir()
    hosts["west"].symlink_to(house.settings.data_dir)
    workers = {}
    for host, folder in hosts.items():
        naming = ["unshare", "--uts", "sh", "-c", f'hostname {host}; exec "$@"', "sh"]
        workers[host] = house.worker(host, prefix=naming, DATA_DIR=str(folder))
    house.workers(*hosts)
    assert {worker.host for worker in house.jobs.workers()} == set(hosts)
    keys = list(range(0, 120, 20))
    export = write_job(place.tmp / "501.zip", job=501, frames=120, keys=keys, milliseconds=40)
    job_id = house.submit(export)
    dead = house.holder(job_id, 3)
    workers[dead].kill()
    place.same(job_id, export, again=PER_KILL)
    alive = next(host for host in hosts if host != dead)
    did = {span.worker for span in house.run(job_id).spans}
    assert did == set(hosts), "both had a part in it"
    assert house.span(job_id, 3).worker == alive
