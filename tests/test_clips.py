"""Promise: real video goes through `relay track` and through the queue with two workers, and both
give the same bytes.

The clips are the beginnings of those of ../shared/clips, as exports with a human mask every 10
frames. Real processes: two workers started by `relay worker`, jobs handed in by `relay submit
--wait`, which find one another through DATA_DIR (embedded broker and SQLite) or the services that
are configured.
"""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from config import Limits, load
from cvat_io.model import MaskShape
from cvat_io.reader import open_export
from tests.helpers.clips import CLIPS, clip_export, clip_names

ROOT = Path(__file__).parents[1]
pytestmark = pytest.mark.skipif(not CLIPS.is_dir(), reason="../shared/clips is not here")

LEARNED = ("chair",)  # by the default engine, which takes minutes for all of them


@contextmanager
def two_workers(env: dict[str, str], folder: Path) -> Iterator[None]:
    with (folder / "workers.log").open("wb") as log:
        workers = [
            subprocess.Popen(
                [sys.executable, "-m", "cli", "worker", "--name", f"w{i}"],
                env=env,
                cwd=ROOT,
                stdout=log,
                stderr=log,
            )
            for i in range(2)
        ]
    try:
        yield
    finally:
        for worker in workers:
            worker.terminate()
        for worker in workers:
            worker.wait(30)


def relay(env: dict[str, str], *arguments: object) -> str:
    done = subprocess.run(
        [sys.executable, "-m", "cli", *map(str, arguments)],
        env=env,
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=900,
    )
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    return done.stdout


def test_every_clip_gives_the_same_bytes_alone_and_through_the_queue(tmp_path: Path) -> None:
    env = {k: v for k, v in os.environ.items() if k not in {"BROKER_URL", "DATABASE_URL"}}
    env |= {"DATA_DIR": str(tmp_path / "data"), "PYTHONPATH": str(ROOT)}
    exports = {name: clip_export(name, tmp_path, every=10, length=16) for name in clip_names()}
    assert len(exports) >= 8
    engine = {name: ("--engine", "builtin" if name in LEARNED else "flow") for name in exports}
    with two_workers(env, tmp_path):
        queued = {
            name: relay(env, "submit", path, *engine[name]).strip()
            for name, path in exports.items()
        }
        for name, job in queued.items():
            await_result(env, job)
            relay(env, "result", job, "--out", tmp_path / f"{name}_queue.zip")
    from jobs import broker

    broker.stop(load(env, tmp_path / "none"))
    for name, export in exports.items():
        alone = tmp_path / f"{name}_alone.zip"
        relay(env, "track", export, "--out", alone, *engine[name])
        assert alone.read_bytes() == (tmp_path / f"{name}_queue.zip").read_bytes(), name
        with open_export(export, Limits()) as before, open_export(alone, Limits()) as after:
            frames = {s.frame for s in after.tracks() if isinstance(s, MaskShape)}
            assert frames <= set(before.meta.frames)
            # The one object is followed, whatever the engine loses where there is but one mask.
            assert len(frames) > 0.5 * len(before.images), name


def await_result(env: dict[str, str], job: str) -> None:
    end = time.monotonic() + 1200
    while time.monotonic() < end:
        line = next(x for x in relay(env, "jobs").splitlines() if x.startswith(f"{job} "))
        state = line.split()[1]
        if state == "completed":
            return
        assert state in {"queued", "running"}, line
        time.sleep(2)
    pytest.fail(f"job {job} did not end")
