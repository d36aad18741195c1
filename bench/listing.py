"""How long the list of many jobs takes: `python -m bench.listing [--jobs 10000]`.

Makes an installation with so many jobs in all states (runs with spans, some running now) on SQLite,
and on PostgreSQL where one answers at DATABASE_URL, and asks the real application for the list, the
board and the dashboard's page, again and again. Rows are put into the database directly: receiving
ten thousand exports would take an hour and leave the same rows.
"""

from __future__ import annotations

import argparse
import os
import statistics
import tempfile
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import psycopg
from flask.testing import FlaskClient
from sqlalchemy import insert, text, update

import server
from bench.machine import machine
from config import Settings
from jobs.db import Database
from jobs.models import ASSEMBLE, LEARN, LEARN_ORDINAL, Job, Revision, Run, Span
from jobs.store import STATE
from web.context import KEY

_QUIET = {"synchronize_session": False}
ROUNDS = 20
TARGET = 100.0  # ms, at the median
LONGEST = "/api/jobs?limit=500"  # the most that one may ask for at once; has no target
SPANS = 8  # of a run, besides learning and the result
PATHS = (
    "/api/jobs",
    LONGEST,
    "/api/jobs?limit=50&offset=9000",
    "/api/jobs?state=failed&limit=50",
    "/api/jobs?search=clip-77",
    "/api/board",
    "/api/board?search=clip-77",
    "/",
)
STATES = ("ready", "queued", "running", "done", "done", "done", "failed", "cancelled", "paused")
POSTGRESQL = "postgresql://root@127.0.0.1:5432/test"


def main() -> int:
    """Print one table for each database; 1: a list, the board or the page takes 100 ms or more."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--jobs", type=int, default=10_000)
    count = parser.parse_args().jobs
    print(f"{machine()}\n{count} jobs, ms of {ROUNDS} requests, target: under 100")
    slow = False
    for name, settings in _installations():
        with settings as given:
            app = server.create_app(given)
            try:
                fill(app.extensions[KEY].jobs.database, count)
                slow = _measure(name, app.test_client()) or slow
            finally:
                app.extensions[KEY].jobs.close()
    return int(slow)


def fill(database: Database, count: int) -> None:
    """Put `count` jobs into an empty database, every ninth in the same of nine states."""
    at = time.time() - count
    rows: dict[type, list[dict[str, Any]]] = {Job: [], Revision: [], Run: [], Span: []}
    for number in range(count):
        _add(rows, number, STATES[number % len(STATES)], at + number)
    with database.write() as session:
        for table, values in rows.items():
            session.execute(insert(table), values)
        session.execute(update(Job).values(state=STATE).execution_options(**_QUIET))
        if session.get_bind().dialect.name == "postgresql":
            session.execute(text("ANALYZE"))  # as autovacuum does within a minute


def _add(rows: dict[type, list[dict[str, Any]]], number: int, state: str, at: float) -> None:
    job, made = f"clip-{number}", state != "ready"
    rows[Job].append(
        {"id": job, "name": job, "created": at, "updated": at, "changed": number + 1,
         "revision": 1, "run": 1 if made else None, "runs_made": int(made)}
    )  # fmt: skip
    rows[Revision].append(
        {"job_id": job, "number": 1, "sha256": f"{number:064x}", "bytes": 10**8, "received": at,
         "source": f"{job}.zip", "file": "export.zip", "refused": "", "summary": _summary(number)}
    )  # fmt: skip
    if not made:
        return
    spans = [_span(number, ordinal, state, at) for ordinal in range(-1, SPANS + 1)]
    rows[Span].extend(spans)
    rows[Run].append(
        {"id": number + 1, "job_id": job, "number": 1, "revision": 1, "images_revision": 1,
         "state": state, "options": {"mode": "initial", "engine": "auto"}, "engine": "builtin",
         "ignore_labels": [], "frames_total": 290, "created": at,
         "plan": '{"spans": [' + "0, " * 4000 + "0]}",
         "started": None if state == "queued" else at,
         "finished": None if state in ("queued", "running", "paused") else at + 60,
         "error": "The worker gave up." if state in ("failed", "cancelled") else ""}
    )  # fmt: skip


def _span(number: int, ordinal: int, state: str, at: float) -> dict[str, Any]:
    done = state == "done" or (state != "queued" and ordinal < SPANS // 2)
    direction = {LEARN_ORDINAL: LEARN, SPANS: ASSEMBLE}.get(ordinal, "both")
    leased = state == "running" and ordinal == SPANS // 2
    return {
        "run_id": number + 1, "ordinal": ordinal, "start": 30 * ordinal, "stop": 30 * ordinal + 29,
        "direction": direction, "state": "done" if done else "leased" if leased else "queued",
        "frames_done": 28 if done else 0, "frames_total": 28, "lease_until": at if leased else None,
        "worker": f"worker-{number % 7}" if done or leased else "",
    }  # fmt: skip


def _summary(number: int) -> dict[str, Any]:
    labels = [{"name": f"label {n}", "color": "#3d9be0", "objects": n + number % 5} for n in
              range(6)]  # fmt: skip
    return {
        "kind": "job", "cvat_id": str(number), "has_images": True, "frames": 300, "first_frame": 0,
        "last_frame": 299, "step": 1, "width": 1920, "height": 1080,
        "key_frames": list(range(0, 300, 30)), "labels": labels, "warnings": [],
    }  # fmt: skip


def _measure(name: str, client: FlaskClient) -> bool:
    print(f"\n{name:<36} {'p50':>8} {'p95':>8} {'KiB':>8}")
    slow = False
    for path in PATHS:
        size = len(client.get(path).data)
        times = []
        for _ in range(ROUNDS):
            began = time.perf_counter()
            answer = client.get(path)
            times.append(1000 * (time.perf_counter() - began))
            assert answer.status_code == 200, answer.text
        p50, p95 = statistics.median(times), statistics.quantiles(times, n=20)[-1]
        slow = slow or (p50 >= TARGET and path != LONGEST)
        print(f"{path:<36} {p50:>8.1f} {p95:>8.1f} {size / 1024:>8.0f}", flush=True)
    return slow


def _installations() -> Iterator[tuple[str, Any]]:
    yield "SQLite", _installation("")
    url = os.environ.get("DATABASE_URL", POSTGRESQL)
    try:
        psycopg.connect(url, connect_timeout=2).close()
    except psycopg.OperationalError as exc:
        print(f"\nPostgreSQL is not measured: {exc}")
        return
    yield "PostgreSQL", _installation(url)


@contextmanager
def _installation(url: str) -> Iterator[Settings]:
    """A folder, and a schema where there is a PostgreSQL; both go in the end."""
    with tempfile.TemporaryDirectory(prefix="bench-listing-") as folder:
        settings = Settings(data_dir=Path(folder), downloads_path=Path(folder) / "downloads")
        if not url:
            yield settings
            return
        schema = f"relay_bench_{uuid.uuid4().hex[:12]}"
        with psycopg.connect(url, autocommit=True) as connection:
            connection.execute(f'CREATE SCHEMA "{schema}"')
            try:
                mark = "&" if "?" in url else "?"
                yield replace(settings, database_url=f"{url}{mark}options=-csearch_path%3D{schema}")
            finally:
                connection.execute(f'DROP SCHEMA "{schema}" CASCADE')


if __name__ == "__main__":
    raise SystemExit(main())
