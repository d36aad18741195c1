"""Promise: on a full or read-only disk workers wait and say so; then they go on by themselves."""

from __future__ import annotations

import ctypes
import errno
import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from bench.processes import wait_for
from bench.services import RabbitMQ
from bench.synthetic import write_job
from jobs.views import SpanState
from tests.faults.conftest import PER_KILL, Place, in_lane, installation

_NEWNS = 0x00020000  # CLONE_NEWNS of unshare(2)
_MIB = 96  # of the disk: more than the room that workers insist on


@contextmanager
def small_disk(folder: Path, rabbitmq: RabbitMQ | None) -> Iterator[Place]:
    """A house whose DATA_DIR is a file system of its own, which only this thread's processes see.

    It goes with the last of them, whatever becomes of the tests.
    """
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.unshare(_NEWNS) != 0:
        pytest.skip(f"mounting is not allowed here ({os.strerror(ctypes.get_errno())})")
    disk = folder / "disk"
    disk.mkdir()
    _run("mount", "--make-rprivate", "/")
    _run("mount", "-t", "tmpfs", "-o", f"size={_MIB}m", "relay-faults", str(disk))
    with installation(folder, rabbitmq, disk / "data") as place:
        yield place


@in_lane(small_disk)
def test_a_full_disk_stops_workers_until_there_is_room(place: Place) -> None:
    house = place.house
    house.workers("one")
    export = write_job(place.tmp / "401.zip", job=401, frames=120, keys=[0], milliseconds=50)
    job_id = house.submit(export)
    house.holder(job_id)
    ballast = house.settings.data_dir.parent / "ballast"
    with ballast.open("wb", buffering=0) as file:
        while _takes(file.fileno(), bytes(1 << 20)) or _takes(file.fileno(), bytes(1 << 10)):
            pass
    wait_for(lambda: "make room" in house.log_of("one"), "the worker's sentence")
    health = house.jobs.health()
    assert not health.ready
    assert "0 MiB are free" in health.disk
    if place.postgres is not None:  # SQLite lies on the full disk too: nothing can be noted there
        wait_for(lambda: "free" in house.jobs.workers()[0].trouble, "the worker's trouble")
    ballast.unlink()
    place.same(job_id, export, again=PER_KILL)
    assert house.span(job_id).attempts <= 2
    wait_for(lambda: house.jobs.workers()[0].trouble == "", "the end of the trouble")


@in_lane(small_disk)
def test_a_read_only_folder_stops_workers_until_it_can_be_written(place: Place) -> None:
    """A second mount over the folder: what is open stays open, as on a network disk."""
    house = place.house
    house.workers("one")
    export = write_job(place.tmp / "402.zip", job=402, frames=90, keys=[0, 30, 60], milliseconds=40)
    job_id = house.submit(export)
    house.holder(job_id)
    folder = str(house.settings.data_dir / "jobs")
    _run("mount", "--bind", folder, folder)
    _run("mount", "-o", "remount,bind,ro", folder)
    try:
        wait_for(lambda: "ead-only" in house.log_of("one"), "the worker's sentence")
        wait_for(lambda: "ead-only" in house.jobs.workers()[0].trouble, "the worker's trouble")
    finally:
        _run("umount", "-l", folder)
    place.same(job_id, export, again=PER_KILL)
    assert all(span.state is SpanState.DONE for span in house.run(job_id).spans)


def _takes(file: int, data: bytes) -> bool:
    """Write to a disk that may be full."""
    try:
        return os.write(file, data) == len(data)
    except OSError as exc:
        if exc.errno != errno.ENOSPC:
            raise
        return False


def _run(*command: str) -> None:
    subprocess.run(command, check=True)
