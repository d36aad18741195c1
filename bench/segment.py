"""How well and how fast prompts become masks: `python -m bench.segment`.

On key frames of real clips with human masks, clicks are simulated: each next one is the pixel of
the wrong regions that lies farthest from their border. Time is of looking at an image, of a click
and of a box after that, at 720p and 1080p, on as many threads as are asked for. A segmenter that
needs weights is measured where they are named.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Sequence
from pathlib import Path
from statistics import fmean

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image as Pictures

from bench.clips import CLIPS, clip_names, find_clip
from bench.machine import machine, peak_mb
from bench.measures import region
from errors import InputError
from tracker.engines import Power
from tracker.power import working
from tracker.segmenters.protocol import Segmenter

CLICKS = (1, 3, 5)
FRAMES = 2  # of a clip, evenly from its first on
SIZES = (1280, 720), (1920, 1080)
Pixels = NDArray[np.bool_]
Picture = NDArray[np.uint8]


def main() -> int:
    """Measure and print two tables: quality, and time."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--engine", default="builtin", help="builtin, or sam-vit-b|l|h")
    parser.add_argument("--weights", type=Path, help="file of SAM's weights")
    parser.add_argument("--device", default="cpu", help="cpu or cuda, for SAM")
    parser.add_argument("--data", type=Path, default=CLIPS, help="folder of clips")
    parser.add_argument("--frames", type=int, default=FRAMES, help=f"of a clip ({FRAMES})")
    parser.add_argument("--threads", type=int, default=0, help="0 (default): one for each core")
    args = parser.parse_args()
    names = clip_names(args.data)
    if not names:
        parser.error(f"there are no clips in {args.data}")
    with working(Power(threads=args.threads)):
        segmenter = _make(args.engine, args.weights, args.device)
        print(f"{args.engine}, {args.threads or 'all'} threads, on {machine()}", end=", ")
        print(time.strftime("%Y-%m-%d"))
        _measure(segmenter, names, args.data, args.frames)
    print(f"\npeak {peak_mb():.0f} MB")
    return 0


def _measure(segmenter: Segmenter, names: Sequence[str], data: Path, frames: int) -> None:
    print("| clip | masks | " + " | ".join(f"J at {k}" for k in CLICKS) + " | J of box |")
    print("|---" * (len(CLICKS) + 3) + "|")
    everything = []
    spent: list[list[list[float]]] = [[] for _ in SIZES]
    for name in names:
        rows = []
        for image, drawn in cases(name, data, frames):
            rows.append(quality(segmenter, image, drawn))
            for size, runs in zip(SIZES, spent, strict=True):
                runs.append(times(segmenter, image, drawn, size))
        _print_row(name, rows)
        everything += rows
    _print_row("mean", everything)
    print("\n| size | of | median ms | p95 ms |\n|---|---|---|---|")
    for size, runs in zip(SIZES, spent, strict=True):
        looks, boxes = [run[0] for run in runs], [run[1] for run in runs]
        clicks = [second for run in runs for second in run[2:]]
        for what, seconds in (("image", looks), ("click", clicks), ("box", boxes)):
            middle, most = (1000 * float(np.percentile(seconds, share)) for share in (50, 95))
            print(f"| {size[0]}x{size[1]} | {what} | {middle:.0f} | {most:.0f} |")


def quality(segmenter: Segmenter, image: Picture, drawn: Pixels) -> list[float]:
    """J after each of `CLICKS` simulated clicks, then J of the box round `drawn`."""
    segmenter.set_image(image)
    found, points, labels, scores = np.zeros_like(drawn), [], [], []
    for _ in range(max(CLICKS)):
        click = next_click(found, drawn)
        if click is not None:
            points.append(click[:2])
            labels.append(click[2])
            found = segmenter.predict(
                np.array(points, dtype=np.float32), np.array(labels, dtype=np.int64)
            ).mask
        scores.append(region(found, drawn))
    return [*(scores[k - 1] for k in CLICKS), region(_boxed(segmenter, drawn), drawn)]


def times(
    segmenter: Segmenter, image: Picture, drawn: Pixels, size: tuple[int, int]
) -> list[float]:
    """Seconds at `size` (W, H): of looking at the image, of a box, and of every click."""
    image = np.asarray(cv2.resize(image, size, interpolation=cv2.INTER_AREA), dtype=np.uint8)
    drawn = cv2.resize(drawn.astype(np.uint8), size, interpolation=cv2.INTER_NEAREST) > 0
    began = time.perf_counter()
    segmenter.set_image(image)
    spent = [time.perf_counter() - began]
    began = time.perf_counter()
    _boxed(segmenter, drawn)
    spent.append(time.perf_counter() - began)
    found, points, labels = np.zeros_like(drawn), [], []
    for _ in range(max(CLICKS)):
        click = next_click(found, drawn)
        if click is None:
            break
        points.append(click[:2])
        labels.append(click[2])
        places, signs = np.array(points, dtype=np.float32), np.array(labels, dtype=np.int64)
        began = time.perf_counter()
        found = segmenter.predict(places, signs).mask
        spent.append(time.perf_counter() - began)
    return spent


def next_click(found: Pixels, drawn: Pixels) -> tuple[int, int, int] | None:
    """x, y and label of the click into the depth of the largest error; None where there is none.

    The largest error is the one whose inmost pixel lies farthest from its border.
    """
    best: tuple[float, int, int, int] | None = None
    for wrong, label in ((drawn & ~found, 1), (found & ~drawn, 0)):
        padded = np.pad(wrong, 1).astype(np.uint8)
        depth = cv2.distanceTransform(padded, cv2.DIST_L2, cv2.DIST_MASK_PRECISE)[1:-1, 1:-1]
        y, x = np.unravel_index(int(depth.argmax()), depth.shape)
        if depth[y, x] > (best[0] if best else 0):
            best = float(depth[y, x]), int(x), int(y), label
    return best[1:] if best else None


def _boxed(segmenter: Segmenter, drawn: Pixels) -> Pixels:
    rows, columns = np.flatnonzero(drawn.any(axis=1)), np.flatnonzero(drawn.any(axis=0))
    box = np.array([columns[0], rows[0], columns[-1] + 1, rows[-1] + 1], dtype=np.float32)
    return segmenter.predict(box=box).mask


def cases(name: str, data: Path, count: int) -> list[tuple[Picture, Pixels]]:
    """Images and masks of a clip's first object, `count` of them, evenly from its first frame."""
    clip = find_clip(name, data)
    shown = clip.keys(1)
    cases = []
    for index in sorted({shown[k * len(shown) // count] for k in range(count)}):
        labels = clip.labels(index)
        assert labels is not None
        with Pictures.open(clip.images[index]) as file:
            image = np.array(file.convert("RGB"), dtype=np.uint8)
        cases.append((image, np.asarray(labels == labels[labels > 0].min(), dtype=np.bool_)))
    return cases


def _print_row(name: str, rows: Sequence[Sequence[float]]) -> None:
    means = " | ".join(f"{fmean(column):.3f}" for column in zip(*rows, strict=True))
    print(f"| {name} | {len(rows)} | {means} |", flush=True)


def _make(engine: str, weights: Path | None, device: str) -> Segmenter:
    if engine == "builtin":
        from tracker.segmenters.builtin import BuiltinSegmenter

        return BuiltinSegmenter()
    if weights is None:
        raise InputError(
            f"{engine!r} needs weights: use builtin, or name them with --weights FILE."
        )
    from tracker.segmenters.sam import SamSegmenter, variant_of

    return SamSegmenter(variant_of(engine), weights, device)


if __name__ == "__main__":
    raise SystemExit(main())
