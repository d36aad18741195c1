"""How fast annotations are read and written, beside the floor: `python -m bench.codec`.

The floor is lxml's bare iterparse of the very same archive member with elements freed: what any
reader pays before it has looked at one attribute. Every step runs in a process of its own, so that
its peak memory is its own.
"""

from __future__ import annotations

import argparse
import json
import resource
import subprocess
import sys
import tempfile
import time
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
from lxml import etree

from config import Limits
from cvat_io.build import write_export
from cvat_io.masks import tight
from cvat_io.model import Label, Mask, MaskShape
from cvat_io.reader import open_export
from cvat_io.result import write_result

MASKS = 20_000
WIDTH, HEIGHT = 1920, 1080
PER_FRAME = 10
TARGETS = {"read": 2.0, "write": 1.0}
MEMORY_MB = 300
REPEATS = 5


def main() -> int:
    """Build the file, run every step in its own process and print one table; 1: a target missed."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--masks", type=int, default=MASKS)
    parser.add_argument("--step", choices=sorted(_STEPS), help=argparse.SUPPRESS)
    parser.add_argument("--folder", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.step:
        seconds = _STEPS[options.step](options.folder, options.masks)
        unit = 1024 if sys.platform != "darwin" else 1024 * 1024
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / unit
        print(json.dumps({"seconds": seconds, "peak_mb": peak}))
        return 0
    with tempfile.TemporaryDirectory(prefix="bench-codec-") as name:
        return _table(Path(name), options.masks)


def _table(folder: Path, masks: int) -> int:
    _run("build", folder, masks)
    with zipfile.ZipFile(folder / "full.zip") as archive:
        size = archive.getinfo("annotations.xml").file_size / 1e6
    print(
        f"{masks} masks of {WIDTH} x {HEIGHT}, {size:.0f} MB of XML, "
        f"{(folder / 'full.zip').stat().st_size / 1e6:.0f} MB packed; best of {REPEATS}"
    )
    print(f"{'step':<12}{'seconds':>9}{'MB/s':>8}{'x floor':>9}{'target':>8}{'peak MB':>9}")
    missed = 0
    floor = 0.0
    steps = ("floor", "read", "write")
    # Round by round, so that whatever else the machine does meets all steps alike.
    rounds = [{step: _run(step, folder, masks) for step in steps} for _ in range(REPEATS)]
    for step in steps:
        runs = [each[step] for each in rounds]
        seconds = min(run["seconds"] for run in runs)
        peak = max(run["peak_mb"] for run in runs)
        floor = floor or seconds
        target = TARGETS.get(step)
        missed += peak > MEMORY_MB or (target is not None and seconds > target * floor)
        print(
            f"{step:<12}{seconds:>9.2f}{size / seconds:>8.0f}{seconds / floor:>9.2f}"
            f"{target if target is not None else '':>8}{peak:>9.0f}"
        )
    return 1 if missed else 0


def _run(step: str, folder: Path, masks: int) -> dict[str, float]:
    command = [sys.executable, "-m", "bench.codec", "--step", step]
    command += ["--folder", str(folder), "--masks", str(masks)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    result: dict[str, float] = json.loads(done.stdout)
    return result


def _build(folder: Path, masks: int) -> float:
    """Write the file to read, and a small export of the same job for the writer."""
    frames = masks // PER_FRAME
    labels = [Label("car", "#b83df5", "any"), Label("road", "#ff3400", "any")]

    def shapes(count: int) -> Iterator[MaskShape]:
        for index, mask in enumerate(blobs(count)):
            yield MaskShape(index // PER_FRAME, labels[index % 2].name, mask)

    started = time.perf_counter()
    for name, count in (("full.zip", masks), ("keys.zip", PER_FRAME)):
        write_export(
            folder / name,
            frames=(),
            width=WIDTH,
            height=HEIGHT,
            labels=labels,
            masks=shapes(count),
            stop_frame=frames,
        )
    return time.perf_counter() - started


def blobs(count: int) -> Iterator[Mask]:
    """Blobs with ragged outlines, 80 to 600 rows high: about 700 runs each."""
    rng = np.random.default_rng(7)
    for _ in range(count):
        high, wide = int(rng.integers(80, 601)), int(rng.integers(100, 901))
        rows = np.arange(high)
        half = np.sin((rows + 1) / (high + 1) * np.pi) * wide * 0.4 + 2
        middle = wide / 2 + np.cumsum(rng.normal(0, 0.7, high))
        x0 = np.clip(middle - half, 0, wide - 2).astype(np.int64)
        x1 = np.clip(middle + half, x0 + 1, wide).astype(np.int64)
        bounds = np.empty(2 * high + 2, dtype=np.int64)
        bounds[0] = 0
        bounds[1:-1:2] = rows * wide + x0
        bounds[2:-1:2] = rows * wide + x1
        bounds[-1] = high * wide
        left, top = int(rng.integers(0, WIDTH - wide)), int(rng.integers(0, HEIGHT - high))
        mask = tight(Mask(left, top, wide, high, np.diff(bounds).astype(np.int32)))
        if mask is not None:
            yield mask


def _floor(folder: Path, masks: int) -> float:
    started = time.perf_counter()
    with (
        zipfile.ZipFile(folder / "full.zip") as archive,
        archive.open("annotations.xml") as source,
    ):
        for _, element in etree.iterparse(source, events=("end",)):
            element.clear()
            parent = element.getparent()
            if parent is not None:
                while element.getprevious() is not None:
                    del parent[0]
    return time.perf_counter() - started


def _read(folder: Path, masks: int) -> float:
    started = time.perf_counter()
    with open_export(folder / "full.zip", Limits()) as export:
        found = sum(isinstance(track, MaskShape) for track in export.tracks())
    seconds = time.perf_counter() - started
    if found != masks:
        raise RuntimeError(f"read {found} masks instead of {masks}")
    return seconds


def _write(folder: Path, masks: int) -> float:
    with open_export(folder / "full.zip", Limits()) as export:
        shapes = [track for track in export.tracks() if isinstance(track, MaskShape)]
    with open_export(folder / "keys.zip", Limits()) as keys:
        started = time.perf_counter()
        write_result(folder / "result.zip", keys, shapes, {"key_frames": "0"})
        return time.perf_counter() - started


_STEPS: dict[str, Callable[[Path, int], float]] = {
    "build": _build,
    "floor": _floor,
    "read": _read,
    "write": _write,
}


if __name__ == "__main__":
    sys.exit(main())
