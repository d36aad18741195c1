"""What objects and pixels cost: `python -m bench.cost`.

Synthetic scenes (textured discs that drift over textured ground) of several sizes with 1, 3, 10 and
50 objects: seconds of learning from one key frame, milliseconds of one step, and peak memory. Every
case runs in a process of its own.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import time

import cv2
import numpy as np

from bench.machine import machine, peak_mb
from tracker import engines
from tracker.protocol import Example, Image, LabelMap

SIZES = {"480p": (854, 480), "1080p": (1920, 1080), "4K": (3840, 2160)}
OBJECTS = (1, 3, 10, 50)
_STEPS = 6  # the first of them is not counted


def main() -> int:
    """Print the table, or measure the one case that a child process was started for."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--engine", default="builtin", help="an engine's name (builtin)")
    parser.add_argument("--sizes", default=",".join(SIZES), help="some of " + ", ".join(SIZES))
    parser.add_argument("--case", help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.case:
        size, count = args.case.split(":")
        print(json.dumps(measure(args.engine, *SIZES[size], int(count))))
        return 0
    print(f"{args.engine} on {machine()}, {time.strftime('%Y-%m-%d')}")
    print("| size | objects | learn s | ms per frame | x one object | peak MB |")
    print("|---|---|---|---|---|---|")
    for size in args.sizes.split(","):
        alone = 0.0
        for count in OBJECTS:
            command = [sys.executable, "-m", "bench.cost", "--engine", args.engine]
            case = subprocess.run(
                [*command, "--case", f"{size}:{count}"], check=True, stdout=subprocess.PIPE
            )
            found = json.loads(case.stdout)
            alone = alone or found["step"]
            print(
                f"| {size} | {count} | {found['learn']:.1f} | {1000 * found['step']:.0f} "
                f"| {found['step'] / alone:.1f} | {found['peak']:.0f} |",
                flush=True,
            )
    return 0


def measure(engine: str, width: int, height: int, count: int) -> dict[str, float]:
    """Seconds of learning and of a step, and the process's peak memory in MB."""
    clip = Drift(width, height, count)
    image, labels = clip.frame(0)
    began = time.perf_counter()
    learned = engines.learn(engine, [Example(image, labels)])
    learning = time.perf_counter() - began
    propagator = engines.make(engine, learned=learned)
    propagator.start(image, labels)
    spent = []
    for index in range(1, _STEPS + 1):
        image, _ = clip.frame(index)
        began = time.perf_counter()
        propagator.step(image)
        spent.append(time.perf_counter() - began)
    return {"learn": learning, "step": float(np.mean(spent[1:])), "peak": peak_mb()}


class Drift:
    """Frames and exact label maps, by index."""

    def __init__(self, width: int, height: int, count: int) -> None:
        random = np.random.default_rng(0)
        self._ground = _texture(random, width + 64, height, 60)
        self._skin = _texture(random, width, height, 170)
        across = int(np.ceil((count * width / height) ** 0.5))
        down = -(-count // across)
        cell = width / across, height / down
        self._radius = max(6, int(0.3 * min(cell)))
        self._places = [
            (int((k % across + 0.5) * cell[0]), int((k // across + 0.5) * cell[1]))
            for k in range(count)
        ]
        self._size = width, height

    def frame(self, index: int) -> tuple[Image, LabelMap]:
        """Image and exact label map of one frame."""
        width, height = self._size
        labels = np.zeros((height, width), dtype=np.uint16)
        for number, (x, y) in enumerate(self._places, start=1):
            cv2.circle(labels, (x + 2 * index, y + index), self._radius, number, -1)
        ground = self._ground[:, index : index + width]
        skin = np.roll(self._skin, (index, 2 * index), (0, 1))
        image = np.where(labels[..., None] > 0, skin, ground)
        return np.ascontiguousarray(image), labels


def _texture(random: np.random.Generator, width: int, height: int, level: int) -> Image:
    coarse = random.normal(level, 35, (max(2, height // 12), max(2, width // 12), 3))
    field = cv2.resize(coarse.astype(np.float32), (width, height), interpolation=cv2.INTER_CUBIC)
    return np.asarray(np.clip(field, 0, 255), dtype=np.uint8)


if __name__ == "__main__":
    raise SystemExit(main())
