"""How much faster one job gets with more workers: `python -m bench.scale`.

A job of 32 spans of equal cost, on 1, 2, 4 and 8 workers of an engine that sleeps over its frames:
what is lost is what queue, files and assembly cost. `--services` measures RabbitMQ and PostgreSQL
instead of the embedded pair. `--builtin` measures the real engine with 1 and 2 workers of one
thread each, whole and without the time in which it learns (only one worker can do that), and what
two processes of that engine gain on this machine without any queue: cores share memory and clock.

Time is from the first claim to the published result, by the database's clock, on workers that are
up and idle. Exit code 1 where a speed-up is below 0.9 of the number of workers.
"""

from __future__ import annotations

import argparse
import concurrent.futures
import contextlib
import io
import multiprocessing
import tempfile
import threading
import time
from collections.abc import Iterator
from pathlib import Path

from PIL import Image as Pillow
from sqlalchemy import select

from bench.house import House
from bench.machine import machine
from bench.services import Postgres, RabbitMQ
from bench.synthetic import ENGINE, write_job
from console import signals_unwind
from cvat_io.build import write_export
from demo.clip import make_clip
from demo.sample import LABELS, exact_masks
from jobs.models import Run
from jobs.options import RunOptions
from tracker import engines
from tracker.protocol import Image

WORKERS = (1, 2, 4, 8)
PROMISE = 0.9  # of the number of workers
_SPANS, _SPAN = 32, 20  # how many, and frames from key frame to key frame
_MILLISECONDS = 120  # that a frame costs
_CLIP, _EVERY = 121, 15  # frames of the real engine's clip, and from key frame to key frame
_REAL = "builtin"
_STEPS = 60  # frames that the engine tracks without a queue
_LOOK = 2.0  # seconds between two looks at the run: they must not cost what is measured


def main() -> int:
    """Measure, print one table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--services", action="store_true", help="RabbitMQ and PostgreSQL")
    parser.add_argument("--builtin", action="store_true", help="the real engine")
    args = parser.parse_args()
    pair = "RabbitMQ and PostgreSQL" if args.services else "Valkey and SQLite"
    with (
        tempfile.TemporaryDirectory(prefix="relay-scale-") as name,
        _house(Path(name), args.services) as house,
    ):
        print(f"{pair} on {machine()}, {time.strftime('%Y-%m-%d')}")
        return _builtin(house) if args.builtin else _synthetic(house)


def _synthetic(house: House) -> int:
    frames, keys = _SPANS * _SPAN + 1, range(0, _SPANS * _SPAN + 1, _SPAN)
    path = house.folder / "1.zip"
    export = write_job(path, job=1, frames=frames, keys=keys, milliseconds=_MILLISECONDS)
    print(f"{_SPANS} spans of {_SPAN - 1} frames, {_MILLISECONDS} ms a frame and pass")
    print("| workers | seconds | speed-up | share of ideal |")
    print("|---|---|---|---|")
    alone, worst = 0.0, 1.0
    for count in WORKERS:
        whole, _ = _measure(house, export, ENGINE, count)
        alone = alone or whole
        share = alone / whole / count
        worst = min(worst, share)
        print(f"| {count} | {whole:.1f} | {alone / whole:.2f} | {share:.2f} |", flush=True)
    return int(worst < PROMISE)


def _builtin(house: House) -> int:
    """Learning is one worker's work; all after it is shared."""
    export = _clip(house.folder / "2.zip")
    print(f"{_REAL}, {_CLIP} frames, a key frame every {_EVERY}, one thread a worker")
    print("| workers | seconds | learning | after it | speed-up | share of ideal | of the whole |")
    print("|---|---|---|---|---|---|---|")
    alone: tuple[float, float] | None = None
    worst = 1.0
    for count in (1, 2):
        whole, after = _measure(house, export, _REAL, count)
        alone = alone or (whole, after)
        share = alone[1] / after / count
        worst = min(worst, share)
        print(
            f"| {count} | {whole:.1f} | {whole - after:.1f} | {after:.1f} | {alone[1] / after:.2f} "
            f"| {share:.2f} | {alone[0] / whole / count:.2f} |",
            flush=True,
        )
    alone_rate, both_rate = _rate(house, 1), _rate(house, 2)
    print(
        f"{_STEPS} frames without a queue: {alone_rate:.2f} frames/s by one process, "
        f"{both_rate:.2f} by two at once, {both_rate / alone_rate:.2f} times"
    )
    return int(worst < PROMISE)


def _rate(house: House, processes: int) -> float:
    """Frames/s of so many processes of the real engine together, each with the last run's lessons.

    Each has loaded its engine and clip before the clock starts.
    """
    learned = max(house.settings.data_dir.rglob("learned.*.npz"), key=lambda p: p.stat().st_mtime)
    context = multiprocessing.get_context("spawn")
    start = context.Barrier(processes)
    with concurrent.futures.ProcessPoolExecutor(
        processes, mp_context=context, initializer=_wait_at, initargs=(start,)
    ) as pool:
        seconds = list(pool.map(_track, [learned.read_bytes()] * processes))
    return sum(_STEPS / each for each in seconds)


_start: threading.Barrier | None = None  # of a process of `_rate`


def _wait_at(start: threading.Barrier) -> None:
    global _start
    _start = start


def _track(learned: bytes) -> float:
    """Seconds for `_STEPS` frames of the clip on one thread, in a process of `_rate`."""
    frames = list(make_clip(_STEPS + 1))
    propagator = engines.make(_REAL, threads=1, learned=learned)
    propagator.start(*frames[0])
    assert _start is not None
    _start.wait(120)
    began = time.perf_counter()
    for image, _ in frames[1:]:
        propagator.step(image)
    return time.perf_counter() - began


def _measure(house: House, export: Path, engine: str, count: int) -> tuple[float, float]:
    """Seconds of a run on `count` workers, and of its part after learning."""
    house.workers(*(f"w{number}" for number in range(1, count + 1)))
    job_id = house.submit(export, RunOptions(engine=engine))
    archive = house.complete(job_id, 3600.0, every=_LOOK)
    assert archive
    with house.jobs.database.read() as session:
        run = session.scalars(
            select(Run).where(Run.job_id == job_id).order_by(Run.number.desc()).limit(1)
        ).one()
        assert run.started is not None
        assert run.resumed is not None
        assert run.finished is not None
        return run.finished - run.started, run.finished - run.resumed


def _clip(path: Path) -> Path:
    """A longer sample clip with more key frames."""
    clip = make_clip(_CLIP)
    write_export(
        path,
        frames=((index, _png(image)) for index, (image, _) in enumerate(clip)),
        width=clip.width,
        height=clip.height,
        labels=LABELS,
        masks=[shape for key in range(0, _CLIP, _EVERY) for shape in exact_masks(clip, key)],
        stop_frame=_CLIP - 1,
    )
    return path


def _png(image: Image) -> bytes:
    file = io.BytesIO()
    Pillow.fromarray(image).save(file, "PNG", compress_level=1)
    return file.getvalue()


@contextlib.contextmanager
def _house(folder: Path, services: bool) -> Iterator[House]:
    with contextlib.ExitStack() as stack:
        database_url = broker_url = ""
        if services:
            postgres = stack.enter_context(contextlib.closing(Postgres()))
            postgres.start()
            rabbitmq = stack.enter_context(contextlib.closing(RabbitMQ()))
            rabbitmq.start()
            database_url, broker_url = postgres.url, rabbitmq.url
        yield stack.enter_context(
            House(folder / "house", database_url=database_url, broker_url=broker_url)
        )


if __name__ == "__main__":
    with signals_unwind():  # what was started must not outlive it
        raise SystemExit(main())
