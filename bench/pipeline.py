"""How busy the propagator is kept, on the sample clip and on real ones: `python -m bench.pipeline`.

Runs what `relay track` runs, one clip after the other, each in a process of its own. Real clips are
those of ../shared/clips, where that folder is present. "busy" is the share of the whole run's wall
time (reading the export, passes, writing and verifying the result) that is spent inside the
propagator: everything else should happen beside it.
"""

from __future__ import annotations

import argparse
import io
import json
import resource
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from PIL import Image

from config import Settings
from cvat_io.build import write_export
from cvat_io.masks import encode
from cvat_io.model import Label, MaskShape
from demo.sample import write_sample
from jobs.views import RunOptions
from worker.local import track
from worker.pipeline import STAGES

CLIPS = Path(__file__).parents[1].parent / "shared" / "clips"
SAMPLE = "sample"
REAL = ("chair",)
EVERY = 20  # frames from one human mask to the next
TARGET = 0.9


def main() -> int:
    """Run the clips and print one table; 1: the propagator was kept waiting."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    known = [SAMPLE, *(p.name for p in sorted(CLIPS.glob("*/")))] if CLIPS.is_dir() else [SAMPLE]
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
        busy = figures["stages"]["track"] / figures["seconds"]
        worst = min(worst, busy)
        row = [
            name,
            figures["size"],
            str(figures["frames"]),
            f"{figures['rate']:.2f}",
            f"{figures['seconds']:.2f}",
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
            size = _write_real(name, export)
        report = track(
            export, Path(folder) / "result.zip", options=RunOptions(), settings=Settings()
        )
    unit = 1024 if sys.platform != "darwin" else 1024 * 1024
    return {
        "size": f"{size[0]}x{size[1]}",
        "frames": report["frames_tracked"],
        "rate": report["frames_per_second"],
        "seconds": report["seconds"],
        "stages": report["stages"],
        "peak_mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / unit,
    }


def _write_real(name: str, path: Path) -> tuple[int, int]:
    """Write a shared clip as an export, with a human mask every `EVERY` frames."""
    files = sorted((CLIPS / name / "images").iterdir())
    with Image.open(files[0]) as first:
        width, height = first.size
    masks = []
    for index in range(0, len(files), EVERY):
        drawn = CLIPS / name / "masks" / f"{files[index].stem}.png"
        mask = encode(np.asarray(Image.open(drawn)) > 127) if drawn.exists() else None
        if mask is not None:
            masks.append(MaskShape(frame=index, label="object", mask=mask))
    write_export(
        path,
        frames=_pngs(files),
        width=width,
        height=height,
        labels=(Label("object", "#ff0000", "mask"),),
        masks=masks,
        stop_frame=len(files) - 1,
    )
    return width, height


def _pngs(files: list[Path]) -> Iterator[tuple[int, bytes]]:
    for index, file in enumerate(files):
        packed = io.BytesIO()
        Image.open(file).save(packed, "PNG", compress_level=6)
        yield index, packed.getvalue()


if __name__ == "__main__":
    raise SystemExit(main())
