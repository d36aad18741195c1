"""An engine that costs what an export says: `python -m bench.synthetic worker --name X`.

For faults and for measures of the queue. Such an export's images carry, in their first pixels, the
job's number, the frame's, how long a worker is to sleep over it, and whether to die of it; so one
worker serves jobs of all kinds. Masks depend on all frames before them: one that was skipped or
computed twice from a wrong state shows in the result. All that happens only where SYNTHETIC_LOG
names a file, to which a line is added when a frame is begun: "seconds job frame process". Without
it the masks are the same, and come at once.

A worker that is started so knows the engine, and so does its spawned child, which runs its parent's
main module anew; any other process knows it only inside of `registered`.
"""

from __future__ import annotations

import argparse
import io
import os
import signal
import struct
import sys
import threading
import time
from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType

import numpy as np
from PIL import Image as Pillow

import logs
from config import load
from cvat_io.build import write_export
from cvat_io.masks import encode_labels
from cvat_io.model import Label, MaskShape
from tracker import engines
from tracker.protocol import Image, LabelMap, Step

ENGINE = "synthetic"
LOG = "SYNTHETIC_LOG"

_STAMP = struct.Struct(">2sIII?")
_MAGIC = b"MR"
_HEIGHT, _WIDTH = 36, 48
_lock = threading.Lock()
_users = 0  # threads inside of `registered`
_LABELS = (Label("object", "#ff0000", "any"), Label("thing", "#00ff00", "any"))


@dataclass(frozen=True, slots=True)
class Begun:
    """A frame that an engine began to compute."""

    at: float  # seconds since the epoch
    job: int
    frame: int
    pid: int


class Synthetic:
    """Moves masks by one pixel a frame, and sleeps."""

    replays = False

    def __init__(self) -> None:
        self._labels: LabelMap = np.zeros((0, 0), dtype=np.uint16)
        self._objects = 0

    def start(self, image: Image, labels: LabelMap) -> None:
        """Begin at a key frame."""
        self._objects = 0
        self.remember(image, labels)

    def step(self, image: Image) -> Step:
        """Carry the masks on. Raises ValueError for an image that is not of `write_job`."""
        job, frame, milliseconds, deadly = _read_stamp(image)
        if path := os.environ.get(LOG):
            _add_line(Path(path), f"{time.time():.6f} {job} {frame} {os.getpid()}\n")
            if deadly:
                os.kill(os.getpid(), signal.SIGKILL)
            time.sleep(milliseconds / 1000)
        down = 1 if frame % 3 == 0 else 0
        self._labels = np.roll(self._labels, (down, 1), (0, 1))
        sure = [0.6 + (7 * frame + number) % 10 / 30 for number in range(self._objects)]
        return Step(self._labels, np.array(sure, dtype=np.float32))

    def remember(self, image: Image, labels: LabelMap) -> None:
        """Take `labels` as the state."""
        self._labels = labels
        self._objects = max(self._objects, int(labels.max(initial=0)))


def write_job(
    path: Path,
    *,
    job: int,
    frames: int,
    keys: Sequence[int],
    milliseconds: int,
    deadly: Collection[int] = (),
) -> Path:
    """Write an export of `frames` frames with key frames `keys`, for this engine; returns `path`.

    A worker sleeps `milliseconds` over every frame, and is killed by each of the frames `deadly`.
    """
    drawn = np.zeros((_HEIGHT, _WIDTH), dtype=np.uint16)
    drawn[4:12, 3:15] = 1
    drawn[20:27, 10:20] = 2
    kinds = {number: label.name for number, label in enumerate(_LABELS, start=1)}
    masks = [
        MaskShape(frame=key, label=kinds[number], mask=mask)
        for key in keys
        for number, mask in encode_labels(np.roll(drawn, key, 1)).items()
    ]
    write_export(
        path,
        frames=((n, _picture(job, n, milliseconds, n in deadly)) for n in range(frames)),
        width=_WIDTH,
        height=_HEIGHT,
        labels=_LABELS,
        masks=masks,
        job_id=str(job),
        stop_frame=frames - 1,
    )
    return path


def begun(log: Path) -> list[Begun]:
    """What the file that SYNTHETIC_LOG named has, in the order of time."""
    if not log.exists():
        return []
    rows = [line.split() for line in log.read_text().splitlines()]
    return [Begun(float(at), int(job), int(frame), int(pid)) for at, job, frame, pid in rows]


@contextmanager
def registered() -> Iterator[None]:
    """Have the engine in the registry of engines for a while; threads may overlap in it."""
    global _users
    with _lock:
        _users += 1
        _register()
    try:
        yield
    finally:
        with _lock:
            _users -= 1
            if not _users:
                rest = {name: entry for name, entry in engines._REGISTRY.items() if name != ENGINE}
                engines._REGISTRY = MappingProxyType(rest)


def _register() -> None:
    # Kept out of tracker.engines: nobody who tracks a video should find it in a list.
    info = engines.EngineInfo(name=ENGINE, summary="Sleeps over every frame; moves masks.")
    entry = engines._Entry(info, lambda *_: Synthetic(), engines._learns_nothing)
    engines._REGISTRY = MappingProxyType({**engines._REGISTRY, ENGINE: entry})


def _picture(job: int, frame: int, milliseconds: int, deadly: bool) -> bytes:
    image = np.full((_HEIGHT, _WIDTH, 3), 90, dtype=np.uint8)
    stamp = _STAMP.pack(_MAGIC, job, frame, milliseconds, deadly)
    image.reshape(-1)[: len(stamp)] = np.frombuffer(stamp, dtype=np.uint8)
    file = io.BytesIO()
    Pillow.fromarray(image).save(file, "PNG")
    return file.getvalue()


def _read_stamp(image: Image) -> tuple[int, int, int, bool]:
    magic, job, frame, milliseconds, deadly = _STAMP.unpack_from(image.tobytes())
    if magic != _MAGIC:
        raise ValueError(f"the engine {ENGINE} tracks exports of bench.synthetic only")
    return job, frame, milliseconds, deadly


def _add_line(path: Path, line: str) -> None:
    """Append in one write, so that lines of several processes never mix."""
    file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
    try:
        os.write(file, line.encode())
    finally:
        os.close(file)


def main() -> int:
    """Run one worker that knows this engine."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("verb", choices=["worker"])
    parser.add_argument("--name", default="", help="for the dashboard")
    args = parser.parse_args()
    from worker.main import run_worker

    settings = load()
    logs.start(settings.log_format, debug=settings.debug)
    return run_worker(settings, name=args.name, device="cpu")


if __name__ in ("__main__", "__mp_main__"):  # the latter in a worker's spawned child
    _register()

if __name__ == "__main__":
    sys.exit(main())
