"""How well and how fast prompts become masks: `python -m bench.segment`.

On key frames of real clips with human masks, clicks are simulated: each next one is the pixel of
the wrong regions that lies farthest from their border. Time
is of a click at 1280x720, after the image was looked at, and of a box with its own look. A
segmenter that needs weights is measured where they are named.
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
from tracker.segmenters.protocol import Segmenter

CLICKS = (1, 3, 5)
FRAMES = 2  # of a clip, evenly from its first on
SIZE = 1280, 720
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
    args = parser.parse_args()
    names = clip_names(args.data)
    if not names:
        parser.error(f"there are no clips in {args.data}")
    segmenter = _make(args.engine, args.weights, args.device)
    print(f"{args.engine} on {machine()}, {time.strftime('%Y-%m-%d')}")
    print("| clip | masks | " + " | ".join(f"J at {k}" for k in CLICKS) + " | J of box |")
    print("|---" * (len(CLICKS) + 3) + "|")
    everything, looks, clicks, boxes = [], [], [], []
    for name in names:
        rows = []
        for image, drawn in _cases(name, args.data, args.frames):
            rows.append(quality(segmenter, image, drawn))
            spent = times(segmenter, image, drawn)
            looks.append(spent[0])
            boxes.append(spent[1])
            clicks += spent[2:]
        _print_row(name, rows)
        everything += rows
    _print_row("mean", everything)
    print(f"\n| at {SIZE[0]}x{SIZE[1]} | median ms | p95 ms |\n|---|---|---|")
    for what, seconds in (("image", looks), ("click", clicks), ("box", boxes)):
        middle, most = (1000 * float(np.percentile(seconds, share)) for share in (50, 95))
        print(f"| {what} | {middle:.0f} | {most:.0f} |")
    print(f"\npeak {peak_mb():.0f} MB")
    return 0


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


def times(segmenter: Segmenter, image: Picture, drawn: Pixels) -> list[float]:
    """Seconds at `SIZE`: of looking at the image, of a box, and of every click."""
    image = np.asarray(cv2.resize(image, SIZE, interpolation=cv2.INTER_AREA), dtype=np.uint8)
    drawn = cv2.resize(drawn.astype(np.uint8), SIZE, interpolation=cv2.INTER_NEAREST) > 0
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


def _cases(name: str, data: Path, count: int) -> list[tuple[Picture, Pixels]]:
    """Images and masks of a clip's first object."""
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
