"""Promise: server, broker and database may die at any moment; runs end as if nothing had been."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import socket
import sqlite3
import threading
import time
import urllib.error
import urllib.request
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from urllib.parse import urlsplit

import amqp
from redis import Redis

from bench.house import OPTIONS
from bench.processes import wait_for
from bench.synthetic import write_job
from jobs import broker
from jobs.queue import Waker, queue_name
from jobs.service import Jobs
from tests.faults.conftest import Place, in_lane, installation

PAST_A_LEASE = 12.0  # seconds; a lease lasts for 10
START = b"{}"  # the engine that the installation is set to


@in_lane(installation)
def test_a_killed_server_loses_no_upload_that_it_confirmed_and_no_run(place: Place) -> None:
    house = place.house
    house.workers("one", "two")
    server, port = house.server()
    export = write_job(place.tmp / "201.zip", job=201, frames=80, keys=[0], milliseconds=80)
    _upload_half(port, export)
    server.kill()
    server, _ = house.server(port)
    assert "201" not in _ids(port), "half an archive is no job"
    assert _post(port, "/api/jobs?name=201.zip", export.read_bytes()) == 201
    assert _post(port, "/api/jobs/201/runs", START) == 201
    house.holder("201")
    server.kill()
    place.same("201", export, again=0)
    server, _ = house.server(port)
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/api/jobs/201/result.zip") as answer:
        assert answer.read() == house.undisturbed(export)
    server.kill()


@in_lane(installation)
def test_two_servers_on_one_folder_take_an_archive_up_once_and_start_one_run(place: Place) -> None:
    house = place.house
    house.workers("one", "two")
    servers = [house.server() for _ in range(2)]
    export = write_job(place.tmp / "202.zip", job=202, frames=30, keys=[0], milliseconds=20)
    house.settings.downloads_path.mkdir(exist_ok=True)
    (house.settings.downloads_path / export.name).write_bytes(export.read_bytes())
    for _, port in servers:
        wait_for(lambda port=port: "202" in _ids(port), "the job")
    time.sleep(5)  # two polls of either server
    with ThreadPoolExecutor(2) as pool:
        path = "/api/jobs/202/runs"
        codes = sorted(pool.map(lambda server: _post(server[1], path, START), servers))
    assert codes == [201, 409]
    place.same("202", export, again=0)
    detail = house.jobs.job("202")
    assert (len(detail.revisions), len(detail.runs)) == (1, 1)
    assert len([line for line in detail.log if "received" in line.text]) == 1
    for server, _ in servers:
        server.kill()


@in_lane(installation)
def test_work_goes_on_while_the_broker_is_dead_and_wake_ups_work_again_after(place: Place) -> None:
    house = place.house
    house.workers("one", "two")
    wait_for(lambda: _listeners(place) == 2, "the workers at the queue")
    exports = [
        write_job(place.tmp / f"{job}.zip", job=job, frames=60, keys=[0], milliseconds=40)
        for job in (203, 204)
    ]
    first = house.submit(exports[0])
    house.holder(first)
    if place.rabbitmq is not None:
        place.rabbitmq.kill()
    else:
        _, *servers = house.broker_processes()
        for pid in servers:
            os.kill(pid, signal.SIGKILL)
    second = house.submit(exports[1])
    for job_id, export in zip((first, second), exports, strict=True):
        place.same(job_id, export, again=0)
    if place.rabbitmq is not None:
        place.rabbitmq.start()
    wait_for(lambda: _listeners(place) == 2, "the workers back at the queue", 90)
    assert Waker(house.settings).wake(4)
    wait_for(lambda: _waiting(place) == 0, "wake-ups to be fetched")


@in_lane(installation)
def test_a_database_that_is_away_past_a_lease_costs_time_only(place: Place) -> None:
    """PostgreSQL is killed and started again; the file of SQLite is locked by somebody else."""
    house = place.house
    house.workers("one", "two")
    exports = [
        write_job(place.tmp / f"{job}.zip", job=job, frames=frames, keys=[0], milliseconds=100)
        for job, frames in ((205, 60), (206, 220))
    ]
    ids = [house.submit(export) for export in exports]
    for job_id in ids:
        house.holder(job_id)
    if place.postgres is not None:
        place.postgres.kill()
        time.sleep(PAST_A_LEASE)
        place.postgres.start()
    else:
        with contextlib.closing(
            sqlite3.connect(house.settings.data_dir / "relay.db", timeout=30, isolation_level=None)
        ) as lock:
            lock.execute("BEGIN EXCLUSIVE")
            time.sleep(PAST_A_LEASE)
            lock.execute("ROLLBACK")
    for job_id, export in zip(ids, exports, strict=True):
        place.same(job_id, export, again=0)
        assert house.span(job_id).attempts == 1


@in_lane(installation)
def test_wake_ups_that_come_three_times_change_nothing(place: Place) -> None:
    house = place.house
    house.workers("one", "two")
    waker = Waker(house.settings)
    exports = [
        write_job(place.tmp / f"{job}.zip", job=job, frames=24, keys=[0, 8, 16], milliseconds=15)
        for job in range(211, 217)
    ]
    ids = []
    for export in exports:
        ids.append(house.submit(export))
        spans = len(house.run(ids[-1]).spans)
        assert waker.wake(min(8, spans))
        assert waker.wake(min(8, spans))
    for job_id, export in zip(ids, exports, strict=True):
        place.same(job_id, export, again=0)
        assert [span.attempts for span in house.run(job_id).spans] == [1] * 5
    waker.close()


@in_lane(installation)
def test_without_any_wake_up_work_is_found_all_the_same(place: Place) -> None:
    """Whoever starts the run reaches no broker; the workers are connected to theirs."""
    house = place.house
    house.workers("one", "two")
    export = write_job(place.tmp / "207.zip", job=207, frames=12, keys=[0], milliseconds=5)
    # Nobody listens on port 1.
    jobs = Jobs(replace(house.settings, broker_url="amqp://guest:guest@127.0.0.1:1//"))
    with export.open("rb") as stream:
        jobs.receive(export.name, stream)
    jobs.start_run("207", OPTIONS)
    jobs.close()
    place.same("207", export, again=0)


def _listeners(place: Place) -> int:
    """How many workers wait at the queue."""
    if place.rabbitmq is not None:
        return _rabbit_counts(place)[1]
    return sum(client["cmd"] == "brpop" for client in _valkey(place).client_list())


def _waiting(place: Place) -> int:
    """How many messages lie in the queue."""
    if place.rabbitmq is not None:
        return _rabbit_counts(place)[0]
    return _valkey(place).llen(queue_name(place.house.settings))


def _valkey(place: Place) -> Redis:
    return Redis(unix_socket_path=str(broker.socket_path(place.house.settings.data_dir)))


def _rabbit_counts(place: Place) -> tuple[int, int]:
    """Messages and consumers of the queue."""
    assert place.rabbitmq is not None
    with amqp.Connection(urlsplit(place.rabbitmq.url).netloc.rpartition("@")[2]) as connection:
        found = connection.channel().queue_declare(queue_name(place.house.settings), passive=True)
    return found.message_count, found.consumer_count


def _upload_half(port: int, export: Path) -> None:
    """Announce an archive, send half of it, and leave the connection open for a moment."""
    data = export.read_bytes()
    client = socket.create_connection(("127.0.0.1", port))
    head = f"POST /api/jobs?name={export.name} HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\n"
    client.sendall(f"{head}Content-Length: {len(data)}\r\n\r\n".encode() + data[: len(data) // 2])
    threading.Timer(5, client.close).start()
    time.sleep(0.5)  # the server has begun to write it down


def _ids(port: int) -> set[str]:
    """The jobs that a server knows."""
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/api/jobs") as answer:
        return {job["id"] for job in json.load(answer)["jobs"]}


def _post(port: int, path: str, body: bytes) -> int:
    """Send and return the status."""
    kind = "application/json" if body == START else "application/zip"
    request = urllib.request.Request(
        f"http://127.0.0.1:{port}{path}", data=body, headers={"Content-Type": kind}
    )
    try:
        with urllib.request.urlopen(request) as answer:
            return answer.status
    except urllib.error.HTTPError as error:
        return error.code
