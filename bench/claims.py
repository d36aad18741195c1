"""What a claim costs, with a short and a long queue: `python -m bench.claims`.

64 claimers (8 processes of 8 threads, each with a connection of its own) claim spans and hand them
back, on a PostgreSQL of its own with fsync on. Writers take turns, so most of a claim is waiting
for 63 others: what counts is the ratio between a queue of 100 and one of 100,000 spans.

Exit code 1 where a long queue makes a claim dearer by more than half.
"""

from __future__ import annotations

import argparse
import contextlib
import multiprocessing
import tempfile
import threading
import time
from multiprocessing.synchronize import Barrier
from pathlib import Path

import numpy as np
from sqlalchemy import insert, text

from bench.machine import machine
from bench.services import Postgres
from config import Settings
from console import signals_unwind
from jobs.db import Database, database_url, open_database
from jobs.models import ASSEMBLE, Job, Revision, Run, Span
from jobs.views import RunState, SpanState
from worker import leases

SIZES = (100, 100_000)
PROMISE = 1.5
_PROCESSES, _THREADS = 8, 8
_WARM_UP = 3  # claims of each claimer that are not counted
_LEASE_SECONDS = 600.0  # nothing expires here
_AT = 1_790_000_000.0  # when all rows were made


def main() -> int:
    """Measure both shapes at both sizes, print one table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--claims", type=int, default=40, help="of each claimer (40)")
    args = parser.parse_args()
    claimers = _PROCESSES * _THREADS
    print(f"{claimers} claimers, {claimers * args.claims} claims a row")
    print(f"on {machine()}, {time.strftime('%Y-%m-%d')}")
    print("| queue | spans | p50 ms | p99 ms | claims/s | ratio p50 | ratio p99 |")
    print("|---|---|---|---|---|---|---|")
    worst = 0.0
    with contextlib.closing(Postgres()) as postgres, tempfile.TemporaryDirectory() as folder:
        postgres.start()
        for one_run in (True, False):
            first: tuple[float, float] | None = None
            for size in SIZES:
                name = f"claims_{'one' if one_run else 'many'}_{size}"
                settings = Settings(data_dir=Path(folder), database_url=postgres.new_database(name))
                _fill(settings, size, one_run)
                spent, seconds = _measure(settings, args.claims)
                p50, p99 = (float(np.percentile(spent, share)) * 1000 for share in (50, 99))
                first = first or (p50, p99)
                ratios = p50 / first[0], p99 / first[1]
                worst = max(worst, *ratios)
                shape = "one run" if one_run else "as many runs"
                print(
                    f"| {shape} | {size} | {p50:.0f} | {p99:.0f} | {len(spent) / seconds:.0f} "
                    f"| {ratios[0]:.2f} | {ratios[1]:.2f} |",
                    flush=True,
                )
    return int(worst > PROMISE)


def _fill(settings: Settings, spans: int, one_run: bool) -> None:
    """Queue spans as `jobs.store_runs.add_run` leaves them, learning done, but in bulk."""
    runs = range(1, 2 if one_run else spans + 1)
    database = open_database(settings)
    with database.write() as session:
        session.execute(
            insert(Job),
            [
                {"id": str(n), "name": str(n), "created": _AT, "updated": _AT, "changed": 0,
                 "deleted": False, "revision": 1, "run": 1, "runs_made": 1}
                for n in runs
            ],
        )  # fmt: skip
        session.execute(
            insert(Revision),
            [
                {"job_id": str(n), "number": 1, "sha256": "", "bytes": 1, "received": _AT,
                 "source": f"{n}.zip", "file": "export.zip", "refused": "", "summary": {}}
                for n in runs
            ],
        )  # fmt: skip
        session.execute(
            insert(Run),
            [
                {"id": n, "job_id": str(n), "number": 1, "revision": 1, "images_revision": 1,
                 "state": RunState.RUNNING.value, "options": {}, "engine": "flow",
                 "ignore_labels": [], "plan": "{}", "created": _AT, "started": _AT,
                 "resumed": _AT, "open": True, "waiting_since": _AT, "priority": 2}
                for n in runs
            ],
        )  # fmt: skip
        each = spans // len(runs)
        session.execute(
            insert(Span),
            [
                {"run_id": n, "ordinal": ordinal, "start": 0, "stop": 9,
                 "direction": "forward" if ordinal < each else ASSEMBLE,
                 "state": SpanState.QUEUED.value, "frames_total": 10}
                for n in runs
                for ordinal in range(each + 1)
            ],
        )  # fmt: skip
    with database.engine.connect() as connection:
        connection.execution_options(isolation_level="AUTOCOMMIT").execute(text("VACUUM ANALYZE"))
    database.close()


def _measure(settings: Settings, claims: int) -> tuple[list[float], float]:
    """Seconds of every claim, and of all together."""
    context = multiprocessing.get_context("spawn")
    begin = context.Barrier(_PROCESSES * _THREADS + 1)
    results: multiprocessing.SimpleQueue[list[float]] = context.SimpleQueue()
    processes = [
        context.Process(target=_claimers, args=(settings, claims, begin, results, number))
        for number in range(_PROCESSES)
    ]
    for process in processes:
        process.start()
    begin.wait()
    began = time.perf_counter()
    spent = [seconds for _ in processes for seconds in results.get()]
    seconds = time.perf_counter() - began
    for process in processes:
        process.join()
    return spent, seconds


def _claimers(
    settings: Settings,
    claims: int,
    begin: Barrier,
    results: multiprocessing.SimpleQueue[list[float]],
    number: int,
) -> None:
    """One process: its threads claim and hand back."""
    spent: list[float] = []

    def claim_all(name: str) -> None:
        database = Database(database_url(settings))
        for turn in range(-_WARM_UP, claims):
            if turn == 0:
                begin.wait()
            began = time.perf_counter()
            with database.write() as session:
                lease = leases.claim(session, name, _LEASE_SECONDS)
            ended = time.perf_counter()
            assert lease is not None
            if turn >= 0:
                spent.append(ended - began)
            with database.write() as session:
                assert leases.hand_back(session, lease, 0)
        database.close()

    threads = [
        threading.Thread(target=claim_all, args=(f"claimer-{number}-{thread}",))
        for thread in range(_THREADS)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    results.put(spent)


if __name__ == "__main__":
    with signals_unwind():  # what was started must not outlive it
        raise SystemExit(main())
