"""How close the masks come to a human's, and what they cost: `python -m bench.quality`.

Measures the product: every clip is written as an export with some of its human masks, goes through
what `relay track` runs (in a process of its own, so that its peak memory is its own), and the
result archive is scored against the human masks that were held back. docs/quality.md says how.
"""

from __future__ import annotations

import argparse
import json
import shlex
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import fmean
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bench.clips import CLIPS, Footage, clip_names, find_clip, label_of, write_footage
from bench.machine import machine, peak_mb
from bench.measures import contour, region
from config import Limits, Settings
from cvat_io.atomic import require_writable
from cvat_io.masks import paint
from cvat_io.model import Mask, MaskShape
from cvat_io.reader import open_export
from errors import InputError
from jobs.options import RunOptions
from tracker.engines import resolve
from worker.local import track

ROOT = Path(__file__).parents[1]
ENGINES = ("builtin",)
EVERY = (0, 20)
HEADS = ("engine", "J", "F", "J&F", "worst J", "learn s", "frames/s", "peak MB")


@dataclass(frozen=True, slots=True)
class Score:
    """J and F of one object on one frame (index in the clip)."""

    object: int
    frame: int
    j: float
    f: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One clip as one engine filled it. `frames` counts the frames that are scored.

    `frames_per_second`: frames that were filled, per second of the run after learning.
    """

    clip: str
    engine: str
    device: str
    every: int
    objects: int
    frames: int
    j: float
    f: float
    worst_j: float
    worst_frame: str
    seconds: float
    learning_seconds: float
    frames_per_second: float
    peak_mb: float
    scores: list[Score]

    @property
    def jf(self) -> float:
        """Mean of J and F."""
        return (self.j + self.f) / 2


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure and print one table per density of human masks; 2: nothing could be measured."""
    given = sys.argv[1:] if arguments is None else list(arguments)
    options = _parser().parse_args(given)
    try:
        if options.run:
            print(json.dumps(_run_here(options)))
            return 0
        _measure(options, "python -m bench.quality " + shlex.join(given))
    except InputError as exc:
        print(exc, file=sys.stderr)
        return 2
    return 0


def key_frames(clip: Footage, every: int) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """The frames that get their human masks, and those that are scored.

    `every` 0: the first frame; scored is what is annotated but the first and the last frame. Else:
    frames 0, `every`, ... as far as they show an object; scored is what is annotated between them.
    """
    keys = clip.keys(every)
    last = keys[-1] if every else len(clip.images) - 1
    scored = (i for i in range(1, last) if clip.masks[i] is not None and i not in keys)
    return keys, tuple(scored)


def score(result: Path, clip: Footage, keys: Sequence[int], scored: Sequence[int]) -> list[Score]:
    """Score the masks of an archive. An object counts from the first of `keys` on that shows it."""
    found = _masks_of(result)
    first: dict[int, int] = {}
    for key in reversed(keys):
        first |= dict.fromkeys(_objects(clip.labels(key)), key)
    scores = []
    for index in scored:
        drawn = clip.labels(index)
        assert drawn is not None
        for number in sorted(number for number, key in first.items() if key < index):
            ours = np.zeros(drawn.shape, dtype=np.bool_)
            for mask in found.get((index, label_of(number)), ()):
                paint(mask, ours, True)
            theirs = drawn == number
            scores.append(Score(number, index, region(ours, theirs), contour(ours, theirs)))
    return scores


def means(scores: Sequence[Score]) -> tuple[float, float]:
    """J and F: of every object over its frames, then over the objects."""
    numbers = sorted({each.object for each in scores})
    own = [[each for each in scores if each.object == number] for number in numbers]
    return (
        fmean(fmean(each.j for each in group) for group in own),
        fmean(fmean(each.f for each in group) for group in own),
    )


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m bench.quality", description=(__doc__ or "").partition("\n")[0]
    )
    add = parser.add_argument
    add("--data", type=Path, default=CLIPS, metavar="DIR", help="clips (%(default)s) or DAVIS")
    add("--engine", nargs="+", default=ENGINES, metavar="NAME", help="default: builtin")
    add(
        "--every",
        nargs="+",
        type=_count,
        default=EVERY,
        metavar="N",
        help="a human mask on every N-th frame, 0: on the first one only; default: 0 20",
    )
    add("--clips", default="", metavar="A,B", help="default: all")
    add("--seed", type=_count, default=0, help="of the engine's random numbers")
    add("--threads", type=_count, default=0, metavar="T", help="CPU threads, 0: all")
    add("--device", default="auto", help="auto, cpu or cuda:N")
    add("--frames", type=_count, default=0, metavar="N", help="first N frames of a clip, 0: all")
    add("--json", type=Path, metavar="FILE", help="write everything, frame by frame, as JSON")
    add("--run", nargs=2, type=Path, default=None, help=argparse.SUPPRESS)
    return parser


def _count(text: str) -> int:
    """A whole number, 0 or more."""
    if not (text.isascii() and text.isdigit()):
        raise argparse.ArgumentTypeError(f"{text!r} is no whole number of 0 or more")
    return int(text)


def _measure(options: argparse.Namespace, command: str) -> None:
    known = clip_names(options.data)
    if not known:
        raise InputError(
            f"There are no clips in {options.data}: name a folder of clips or of DAVIS by --data."
        )
    names = [name.strip() for name in options.clips.split(",") if name.strip()] or known
    clips = [find_clip(name, options.data).cut(options.frames or None) for name in names]
    engines = [resolve(name).name for name in options.engine]
    out = require_writable(options.json) if options.json else None
    about = {"date": time.strftime("%Y-%m-%d"), "machine": machine(), "command": command}
    print(*about.values(), sep="\n")
    rows: list[Row] = []
    for every in options.every:
        where = f"on frames 0, {every}, {2 * every}, ..." if every else "on the first frame only"
        print(f"\nhuman masks {where} (--every {every})")
        _print_line("clip", HEADS)
        here: list[Row] = []
        for clip in clips:
            keys, scored = key_frames(clip, every)
            if not scored:
                print(f"{clip.name:<20} nothing to score: no human mask is left to compare with")
                continue
            for row in _rows(clip, every, keys, scored, engines, options):
                here.append(row)
                _print_line(row.clip, _cells(row))
                if out:
                    _write_json(out, about, [*rows, *here])
        for engine in engines:
            own = [row for row in here if row.engine == engine]
            if own:
                _print_line("mean", _mean_cells(engine, own))
        rows += here


def _rows(
    clip: Footage,
    every: int,
    keys: Sequence[int],
    scored: Sequence[int],
    engines: Sequence[str],
    options: argparse.Namespace,
) -> list[Row]:
    """Measure one clip with every engine."""
    rows = []
    with tempfile.TemporaryDirectory(prefix="bench-quality-") as folder:
        export, result = Path(folder) / "clip.zip", Path(folder) / "result.zip"
        write_footage(export, clip, keys)
        for engine in engines:
            report = _run_apart(export, result, engine, options)
            scores = score(result, clip, keys, scored)
            j, f = means(scores)
            worst = min(scores, key=lambda each: each.j)
            after = report["seconds"] - report["learning_seconds"]
            rows.append(
                Row(
                    clip=clip.name,
                    engine=engine,
                    device=report["device"],
                    every=every,
                    objects=len({each.object for each in scores}),
                    frames=len(scored),
                    j=j,
                    f=f,
                    worst_j=worst.j,
                    worst_frame=clip.images[worst.frame].stem,
                    seconds=report["seconds"],
                    learning_seconds=report["learning_seconds"],
                    frames_per_second=report["frames_tracked"] / max(after, 1e-6),
                    peak_mb=report["peak_mb"],
                    scores=scores,
                )
            )
    return rows


def _run_apart(
    export: Path, result: Path, engine: str, options: argparse.Namespace
) -> dict[str, Any]:
    """Run `_run_here` in a process of its own and return what it says."""
    command = [sys.executable, "-m", "bench.quality", "--run", str(export), str(result)]
    command += ["--engine", engine, "--device", options.device]
    command += ["--seed", str(options.seed), "--threads", str(options.threads)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=ROOT)
    if done.returncode == 2:
        raise InputError(done.stderr)
    if done.returncode:
        raise RuntimeError(f"{shlex.join(command)} failed:\n{done.stderr}")
    report: dict[str, Any] = json.loads(done.stdout)
    return report


def _run_here(options: argparse.Namespace) -> dict[str, Any]:
    """Track one export; what the table needs of the report, and this process's peak memory."""
    export, result = options.run
    report = track(
        export,
        result,
        options=RunOptions(engine=options.engine[0], seed=options.seed),
        settings=Settings(threads=options.threads),
        device=options.device,
    )
    return {
        "device": report["device"],
        "seconds": report["seconds"],
        "learning_seconds": report["learning_seconds"],
        "frames_tracked": report["frames_tracked"],
        "peak_mb": peak_mb(),
    }


def _masks_of(archive: Path) -> Mapping[tuple[int, str], list[Mask]]:
    """All masks of an archive by frame and label."""
    found: dict[tuple[int, str], list[Mask]] = {}
    with open_export(archive, Limits()) as export:
        for shape in export.tracks():
            if isinstance(shape, MaskShape):
                found.setdefault((shape.frame, shape.label), []).append(shape.mask)
    return found


def _objects(labels: NDArray[np.uint8] | None) -> list[int]:
    """The object numbers of a frame's human masks."""
    return [] if labels is None else [int(n) for n in np.unique(labels) if n]


def _print_line(clip: str, cells: Sequence[str]) -> None:
    engine, *figures = cells
    print(f"{clip:<20} {engine:<14}", *(f"{cell:>9}" for cell in figures), flush=True)


def _cells(row: Row) -> list[str]:
    shares = (row.j, row.f, row.jf, row.worst_j)
    return [
        row.engine,
        *(f"{share:.3f}" for share in shares),
        f"{row.learning_seconds:.1f}",
        f"{row.frames_per_second:.2f}",
        f"{row.peak_mb:.0f}",
    ]


def _mean_cells(engine: str, rows: Sequence[Row]) -> list[str]:
    """Means over clips, but the worst of the worst frames and the most memory."""
    j, f = fmean(row.j for row in rows), fmean(row.f for row in rows)
    return [
        engine,
        *(f"{share:.3f}" for share in (j, f, (j + f) / 2, min(row.worst_j for row in rows))),
        f"{fmean(row.learning_seconds for row in rows):.1f}",
        f"{fmean(row.frames_per_second for row in rows):.2f}",
        f"{max(row.peak_mb for row in rows):.0f}",
    ]


def _write_json(path: Path, about: Mapping[str, str], rows: Sequence[Row]) -> None:
    """Write after every row, so that a run that is broken off leaves what it measured."""
    data = {**about, "rows": [{**asdict(row), "jf": row.jf} for row in rows]}
    path.write_text(json.dumps(data, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    raise SystemExit(main())
