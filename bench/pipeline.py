"""How busy the propagator is kept, on the sample clip and on real ones: `python -m bench.pipeline`.

Runs what `relay track` runs, one clip after the other, each in a process of its own. Real clips are
those of ../shared/clips, where that folder is present. "busy" is the share of the run's wall
time (reading the export, passes, writing and verifying the result) that is spent inside the
propagator: everything else should happen beside it. The time in which the engine learns from the
key frames ("learn s") is left out: nothing waits then, but no frame is tracked either.
"""

from __future__ import annotations

import argparse
import json
import resource
import subprocess
import sys
import tempfile
from pathlib import Path

from bench.clips import clip_names, find_clip, write_footage
from config import Settings
from demo.sample import write_sample
from jobs.options import RunOptions
from worker.local import track
from worker.pipeline import STAGES

SAMPLE = "sample"
REAL = ("chair",)
EVERY = 20  # frames from one human mask to the next
TARGET = 0.9


def main() -> int:
    """Run the clips and print one table; 1: the propagator was kept waiting."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    known = [SAMPLE, *clip_names()]
    parser.add_argument("clips", nargs="*", metavar="CLIP", help=f"of {', '.join(known)}")
    parser.add_argument("--one", choices=known, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.one:
        print(json.dumps(_measure(options.one)))
        return 0
    names = options.clips or [SAMPLE, *(name for name in REAL if name in known)]
    if unknown := sorted(set(names) - set(known)):
        parser.error(f"there is no clip {unknown[0]!r}: choose of {', '.join(known)}")
    print(f"\npipeline, target: propagator busy >= {TARGET:.0%} of the run")
    heads = [
        "clip",
        "size",
        "frames",
        "frames/s",
        "run s",
        "learn s",
        *(f"{s} s" for s in STAGES),
        "busy",
        "MB",
    ]
    print(" ".join(f"{head:>10}" for head in heads))
    worst = 1.0
    for name in names:
        done = subprocess.run(
            [sys.executable, "-m", "bench.pipeline", "--one", name],
            check=True,
            capture_output=True,
            text=True,
        )
        figures = json.loads(done.stdout)
        busy = figures["stages"]["track"] / (figures["seconds"] - figures["learning"])
        worst = min(worst, busy)
        row = [
            name,
            figures["size"],
            str(figures["frames"]),
            f"{figures['rate']:.2f}",
            f"{figures['seconds']:.2f}",
            f"{figures['learning']:.2f}",
            *(f"{figures['stages'][stage]:.2f}" for stage in STAGES),
            f"{busy:.1%}",
            f"{figures['peak_mb']:.0f}",
        ]
        print(" ".join(f"{cell:>10}" for cell in row), flush=True)
    return 0 if worst >= TARGET else 1


def _measure(name: str) -> dict[str, object]:
    with tempfile.TemporaryDirectory(prefix="bench-pipeline-") as folder:
        export = Path(folder) / f"{name}.zip"
        if name == SAMPLE:
            clip = write_sample(export)
            size = (clip.width, clip.height)
        else:
            real = find_clip(name)
            size = write_footage(export, real, real.keys(EVERY), compression=6)
        report = track(
            export, Path(folder) / "result.zip", options=RunOptions(), settings=Settings()
        )
    unit = 1024 if sys.platform != "darwin" else 1024 * 1024
    return {
        "size": f"{size[0]}x{size[1]}",
        "frames": report["frames_tracked"],
        "rate": report["frames_per_second"],
        "seconds": report["seconds"],
        "learning": report["learning_seconds"],
        "stages": report["stages"],
        "peak_mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / unit,
    }


if __name__ == "__main__":
    raise SystemExit(main())
