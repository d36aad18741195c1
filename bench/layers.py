"""How long masks, timelines and pictures take to come: `python -m bench.layers`.

Makes a job of 2,000 full-HD frames with 20 objects (`bench.long_job`) and asks the real
application, in this process, for what a page asks for. *derive* is what the worker that publishes
a result does once (else the first question does it); every line of the table is one answer.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from flask.testing import FlaskClient

import server
from bench.long_job import make_long_job
from bench.machine import machine, peak_mb
from config import Settings
from web.context import KEY

ROUNDS = 40
TARGET = 100.0  # ms, at the median: the masks of any 50 frames
JOB = "long"


def main() -> int:
    """Print one table; 1: the masks of 50 frames take 100 ms or more."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--frames", type=int, default=2000)
    parser.add_argument("--objects", type=int, default=20)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="bench-layers-") as name:
        folder = Path(name)
        app = server.create_app(Settings(data_dir=folder / "data", downloads_path=folder / "in"))
        jobs = app.extensions[KEY].jobs
        try:
            make_long_job(jobs, folder, JOB, frames=options.frames, objects=options.objects)
            print(
                f"{machine()}\n{options.frames} frames of 1920 x 1080, {options.objects} objects, "
                f"{jobs.result(JOB).stat().st_size / 1e6:.0f} MB of result; ms of {ROUNDS} requests"
            )
            wall, cpu = time.perf_counter(), time.process_time()
            file, _ = jobs.layers.open(JOB, "run-1")
            wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
            size = file.path.stat().st_size / 1e6
            print(f"derive: {wall:.1f} s, {cpu:.1f} CPU s, {size:.0f} MB")
            return _measure(app.test_client(), options.frames)
        finally:
            jobs.close()


def _measure(client: FlaskClient, frames: int) -> int:
    base = f"/api/jobs/{JOB}"
    print(f"{'what':<44}{'first':>9}{'p50':>9}{'p95':>9}{'KiB':>9}")

    def masks(at: int) -> str:
        first = at * 997 % max(1, frames - 50)
        return f"{base}/layers/run-1/masks?from={first}&to={min(frames - 1, first + 49)}"

    median = _row(client, "masks of 50 frames", masks)
    _row(client, "masks of 50 frames, not packed", masks, packed=False)
    _row(client, "timeline", lambda _: f"{base}/layers/run-1/timeline")
    _row(client, "layers", lambda _: f"{base}/layers")
    _row(client, "frames", lambda _: f"{base}/frames")
    _row(client, "picture, as it is", lambda at: f"{base}/frames/{at * 7 % frames}.jpg")
    _row(
        client,
        "picture, 960 wide, new",
        lambda at: f"{base}/frames/{at * 7 % frames}.jpg?width=960",
    )
    _row(
        client,
        "picture, 960 wide, kept",
        lambda at: f"{base}/frames/{at * 7 % frames}.jpg?width=960",
    )
    _row(client, "thumbnail, kept", lambda _: f"{base}/picture.jpg")
    _row(client, "differences, kept", lambda _: f"{base}/differences?a=revision-1&b=run-1")
    print(f"peak {peak_mb():.0f} MB")
    return int(median >= TARGET)


def _row(
    client: FlaskClient, name: str, path: Callable[[int], str], *, packed: bool = True
) -> float:
    """Ask and print; returns the median in ms, of all but the first answer."""
    headers = {"Accept-Encoding": "gzip, deflate, br"} if packed else {}
    times, size = [], 0
    for at in range(ROUNDS + 1):
        began = time.perf_counter()
        answer = client.get(path(at), headers=headers)
        times.append(1000 * (time.perf_counter() - began))
        assert answer.status_code == 200, answer.text
        size = len(answer.data)
    first, rest = times[0], times[1:]
    p50, p95 = statistics.median(rest), statistics.quantiles(rest, n=20)[-1]
    print(f"{name:<44}{first:>9.1f}{p50:>9.1f}{p95:>9.1f}{size / 1024:>9.0f}", flush=True)
    return p50


if __name__ == "__main__":
    raise SystemExit(main())
