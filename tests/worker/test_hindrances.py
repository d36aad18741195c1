"""Promise: full disks, databases that are away and clocks that jump cost time and nothing else."""

from __future__ import annotations

import errno
import os
import sqlite3
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from sqlalchemy import event, update

from config import Settings
from jobs import room
from jobs.db import Database, database_url
from jobs.models import Span
from jobs.options import RunOptions
from jobs.service import Jobs
from jobs.views import JobState, SpanState
from tests.worker.loops import QUICK, a_loop, running, wait_for
from worker import heartbeat, leases
from worker.heartbeat import Heartbeat, Identity, Pace
from worker.local import track
from worker.loop import SpanLoop
from worker.span_work import SpanWork

ME = Identity(name="w", host="here", device="cpu")


@pytest.fixture
def ready(jobs: Jobs, export: Path) -> Jobs:
    with export.open("rb") as stream:
        jobs.receive("264.zip", stream)
    jobs.start_run("264", RunOptions())
    return jobs


def wait_until(what: str, found: object, wanted: bool = True) -> None:
    """Wait until `found()` is true."""
    assert callable(found)
    pause = threading.Event()
    for _ in range(1200):
        if bool(found()) is wanted:
            return
        pause.wait(0.05)
    raise AssertionError(f"in vain waited for: {what}")


def test_a_worker_waits_for_a_folder_that_cannot_be_written_and_says_so(
    ready: Jobs, settings: Settings, database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The system's answer is changed, as root may write anywhere; tests/faults has a real disk."""
    really, locked = os.access, threading.Event()
    locked.set()

    def access(path: Path, mode: int) -> bool:
        return not (locked.is_set() and path == settings.data_dir) and really(path, mode)

    monkeypatch.setattr(os, "access", access)
    with running(a_loop(settings, database)):
        wait_until("a word on it", lambda: [w for w in ready.workers() if w.trouble])
        (worker,) = ready.workers()
        assert worker.trouble.startswith("waits: DATA_DIR")
        assert "cannot be written" in worker.trouble
        assert ready.job("264").job.state is JobState.QUEUED
        locked.clear()
        wait_for(ready, "264", JobState.COMPLETED)
        assert all(span.attempts == 1 for span in ready.job("264").runs[0].spans)
        wait_until("all is well", lambda: [w for w in ready.workers() if w.trouble], False)


def test_an_attempt_that_meets_a_full_disk_is_handed_back_and_no_attempt_is_used_up(
    ready: Jobs,
    settings: Settings,
    database: Database,
    export: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    full, tries = threading.Event(), []
    full.set()
    compute = SpanWork._compute

    def meets_it(self: SpanWork, lease: leases.Lease, beat: Heartbeat) -> None:
        if full.is_set():
            tries.append(lease.fence)
            raise OSError(errno.ENOSPC, "No space left on device", "0.1.jsonl")
        compute(self, lease, beat)

    monkeypatch.setattr(SpanWork, "_compute", meets_it)
    with running(a_loop(settings, database)):
        wait_until("some tries", lambda: len(tries) > leases.MAX_ATTEMPTS)
        wait_until(
            "a word on it",
            lambda: any("No space left on device" in w.trouble for w in ready.workers()),
        )
        assert ready.job("264").runs[0].spans[1].state is not SpanState.FAILED
        full.clear()
        wait_for(ready, "264", JobState.COMPLETED)
    assert all(span.attempts == 1 for span in ready.job("264").runs[0].spans)
    track(export, tmp_path / "local.zip", options=RunOptions(), settings=settings)
    assert ready.result("264").read_bytes() == (tmp_path / "local.zip").read_bytes()


def test_a_database_that_is_away_uses_up_no_attempt(ready: Jobs, settings: Settings) -> None:
    its_own = Database(database_url(settings))
    loop = a_loop(settings, its_own)
    away = threading.Event()

    @event.listens_for(its_own.engine, "before_cursor_execute")
    def refuse(*_: object) -> None:
        if away.is_set():
            raise sqlite3.OperationalError("disk I/O error")

    prepare = loop._work._prepare

    def loses_it(lease: leases.Lease, beat: Heartbeat) -> object:
        if not away.is_set() and lease.attempts == 1 and lease.ordinal == 0 and lease.fence == 1:
            away.set()
            threading.Timer(0.5, away.clear).start()
        return prepare(lease, beat)

    loop._work._prepare = loses_it  # type: ignore[method-assign, assignment]
    with running(loop):
        wait_for(ready, "264", JobState.COMPLETED, JobState.FAILED)
    run = ready.job("264").runs[0]
    assert ready.job("264").job.state is JobState.COMPLETED, ready.job("264").job.reason
    assert all(span.attempts == 1 for span in run.spans)
    its_own.close()


class Clock:
    """Sets the clock of an SQLite database ahead: its own function of time is replaced."""

    def __init__(self, database: Database) -> None:
        self.ahead = 0.0  # seconds
        event.listen(database.engine, "connect", self._install)
        database.engine.dispose()

    def _install(self, connection: object, record: object) -> None:
        connection.create_function("julianday", 1, self._now)  # type: ignore[attr-defined]

    def _now(self, _: str) -> float:
        return (time.time() + self.ahead) / 86400 + 2440587.5


@pytest.fixture
def clock(settings: Settings, jobs: Jobs) -> Iterator[tuple[Clock, Database]]:
    database = Database(database_url(settings))
    yield Clock(database), database
    database.close()


@pytest.mark.parametrize("jump", [3600.0, -3600.0])
def test_a_clock_that_jumps_expires_no_lease_of_a_worker_that_lives(
    ready: Jobs, settings: Settings, clock: tuple[Clock, Database], jump: float
) -> None:
    hands, database = clock
    with database.write() as session:
        lease = leases.claim(session, "busy", QUICK.lease)
    assert lease is not None
    other = a_loop(settings, database, "other")
    assert not other.step(), "it has seen the clock once"
    stop = threading.Event()
    with Heartbeat(database, ME, lease, QUICK, stop) as beat:
        hands.ahead = jump
        for _ in range(30):
            other.step()
            stop.wait(0.02)
        assert not beat.should_stop()
    with database.read() as session:
        assert leases.is_held(session, lease)


def test_a_dead_workers_lease_ends_although_the_clock_was_set_back(
    ready: Jobs, settings: Settings, clock: tuple[Clock, Database]
) -> None:
    hands, database = clock
    with database.write() as session:
        lease = leases.claim(session, "dead", QUICK.lease)
    assert lease is not None
    hands.ahead = -3600.0
    with running(a_loop(settings, database, "other")):
        wait_for(ready, "264", JobState.COMPLETED)


def test_the_heartbeat_goes_on_beside_threads_that_never_rest(
    ready: Jobs, settings: Settings, database: Database
) -> None:
    with database.write() as session:
        lease = leases.claim(session, "w", 1.0)
    assert lease is not None
    stop = threading.Event()

    def spin() -> None:
        number = 0
        while not stop.is_set():
            number += 1

    busy = [threading.Thread(target=spin) for _ in range(4)]
    with Heartbeat(database, ME, lease, QUICK, stop):
        for thread in busy:
            thread.start()
        deadline = time.monotonic() + 3.0
        while time.monotonic() < deadline:  # this thread does not rest either
            pass
        with database.write() as session:
            assert leases.return_expired(session) == 0
        stop.set()
    for thread in busy:
        thread.join()


def test_a_lost_lease_is_seen_at_the_end_of_the_frame(
    ready: Jobs, settings: Settings, database: Database
) -> None:
    with database.write() as session:
        lease = leases.claim(session, "w")
    assert lease is not None
    with Heartbeat(database, ME, lease, QUICK, threading.Event()) as beat:
        assert not beat.should_stop()
        with database.write() as session:
            session.execute(update(Span).values(fence=Span.fence + 1))
        time.sleep(0.02)
        assert beat.should_stop()


def test_room_is_looked_for_by_writing(tmp_path: Path) -> None:
    assert room.trouble(tmp_path, probe=True) == ""
    assert list(tmp_path.iterdir()) == []
    assert "cannot be used" in room.trouble(tmp_path / "missing")


def test_an_error_that_is_no_disks_fault_counts_as_an_attempt(
    ready: Jobs, settings: Settings, database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    def breaks(self: SpanWork, lease: leases.Lease, beat: Heartbeat) -> None:
        raise IsADirectoryError(errno.EISDIR, "Is a directory", "x")

    monkeypatch.setattr(SpanWork, "_compute", breaks)
    with running(a_loop(settings, database)):
        wait_for(ready, "264", JobState.FAILED)
    assert "after 4 attempts" in ready.job("264").job.reason


def test_a_share_that_is_not_mounted_fails_no_run(
    ready: Jobs, settings: Settings, database: Database
) -> None:
    """Its mount point is an empty folder that can be written."""
    elsewhere = settings.data_dir.with_name("mounted-later")
    jobs_folder = settings.data_dir / "jobs"
    jobs_folder.rename(elsewhere)
    with running(a_loop(settings, database)):
        wait_until("a word on it", lambda: [w for w in ready.workers() if w.trouble])
        assert "is the share mounted?" in ready.workers()[0].trouble
        assert not jobs_folder.exists(), "nothing is made where it does not belong"
        elsewhere.rename(jobs_folder)
        wait_for(ready, "264", JobState.COMPLETED)
    assert all(span.attempts == 1 for span in ready.job("264").runs[0].spans)


def test_an_error_of_ours_does_not_stop_the_heart(
    ready: Jobs, settings: Settings, database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    with database.write() as session:
        lease = leases.claim(session, "w", 1.0)
    assert lease is not None
    failures = iter(range(3))

    def sometimes(device: str) -> None:
        if next(failures, None) is not None:
            raise ValueError("of ours")

    monkeypatch.setattr(heartbeat, "gpu_memory", sometimes)
    with Heartbeat(database, ME, lease, Pace(lease=1.0, heartbeat=0.05), threading.Event()) as beat:
        wait_until("a beat", lambda: ready.workers())
        assert not beat.should_stop()


def test_a_turn_that_was_long_in_coming_expires_nobodys_lease(
    ready: Jobs, settings: Settings, database: Database
) -> None:
    """While somebody else holds the write lock for longer than a lease, no one can renew."""
    pace = Pace(lease=1.0, heartbeat=0.2, tick=0.05)
    with database.write() as session:
        lease = leases.claim(session, "busy", pace.lease)
    assert lease is not None
    other = SpanLoop(settings, database, ME, pace=pace)
    assert not other.step()
    holder = sqlite3.connect(settings.data_dir / "relay.db", timeout=30, isolation_level=None)
    holder.execute("BEGIN IMMEDIATE")
    stop = threading.Event()
    with Heartbeat(database, ME, lease, pace, stop):
        stop.wait(1.2)  # the lease is over by now, and its heartbeat waits for its turn
        threads = [threading.Thread(target=other.step) for _ in range(2)]
        for thread in threads:
            thread.start()
        stop.wait(0.8)
        holder.execute("ROLLBACK")
        for thread in threads:
            thread.join()
        with database.read() as session:
            assert leases.is_held(session, lease)
    holder.close()
