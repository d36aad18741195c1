"""How few key frames could do, if the errors were known: `python -m bench.ceiling`.

`flow` learns nothing, so what it makes of the frames between two key frames depends on these two
alone. The loss (1 - J&F) of every pair of key frames is computed, and from that the best choice of
K key frames of all there are (dynamic programming; frame 0 is always one), beside the choice of one
who adds a frame at a time and never moves one, but knows what each would repair (greedy), and
beside the ways of `bench.annotate`. No suggestion can do better than *best*. Motion is matched for
whole frames (`bench.whole_flow`), for clips of one object whose every frame has a true mask.

A table of all passes is kept in --cache: some minutes for a clip the first time.
"""

from __future__ import annotations

import argparse
import shlex
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from statistics import fmean

import numpy as np
from numpy.typing import NDArray

from bench.annotate import Annotator, equal, halving, ratios, ratios_of_means
from bench.clips import CLIPS, clip_names, find_clip
from bench.divergence import CACHE
from bench.machine import machine
from bench.measures import contour, region
from bench.passes import Clip, Engine
from errors import InputError
from tracker.fusion import fuse
from tracker.protocol import Step

Floats = NDArray[np.float64]
Choices = list[tuple[int, ...]]

WAYS = ("best", "greedy", "suggested", "equal", "halving")
_BOTH = np.ones(1, dtype=np.bool_)


@dataclass(frozen=True, slots=True, eq=False)
class Passes:
    """All passes of a clip of n frames, by key frame and frame, (n, n): J&F, confidence, whether
    there is a mask at all.
    """

    quality: Floats
    confidence: Floats
    present: NDArray[np.bool_]
    _losses: dict[tuple[int, int], float] = field(default_factory=dict)

    @property
    def length(self) -> int:
        """Frames of the clip."""
        return len(self.quality)

    def loss(self, low: int, high: int) -> float:
        """1 - J&F, summed over the frames between two key frames; `high` = n: there is none."""
        if (low, high) not in self._losses:
            frames = range(low + 1, high)
            if high == self.length:
                kept = self.quality[low, low + 1 :].sum()
            else:
                kept = sum(self.quality[self._better(low, high, i), i] for i in frames)
            self._losses[low, high] = len(frames) - float(kept)
        return self._losses[low, high]

    def mean(self, keys: Sequence[int]) -> float:
        """J&F of a result, as `Annotator.quality` has it; `keys`: ascending, 0 first."""
        lost = sum(self.loss(*gap) for gap in pairwise([*keys, self.length]))
        return 1.0 - lost / (self.length - 1)

    def _better(self, low: int, high: int, frame: int) -> int:
        """Which key frame's pass the product takes: of one object it takes the whole mask."""
        # Two pixels stand for the two masks, which differ and are there or not.
        ahead, back = (
            Step(
                np.array([[has and side == 0, has and side == 1]], dtype=np.uint16),
                np.array([self.confidence[key, frame]], dtype=np.float32),
            )
            for side, key in enumerate((low, high))
            for has in [self.present[key, frame]]
        )
        weight = (high - frame) / (high - low)
        fused, _ = fuse(ahead, back, weight_forward=weight, in_forward=_BOTH, in_backward=_BOTH)
        return low if np.array_equal(fused.labels, ahead.labels) else high


def best(passes: Passes, most: int) -> Choices:
    """The choices of 1, 2, ... `most` key frames with the least loss; 0 is always among them."""
    n = passes.length
    losses = np.full((n, n + 1), np.inf)
    for low in range(n):
        for high in range(low + 1, n + 1):
            losses[low, high] = passes.loss(low, high)
    lost = np.full((most + 1, n), np.inf)  # by number of key frames, up to the last one
    lost[1, 0] = 0.0
    before = np.zeros((most + 1, n), dtype=np.int64)
    for count in range(2, most + 1):
        total = lost[count - 1][:, None] + losses[:, :n]
        before[count], lost[count] = total.argmin(axis=0), total.min(axis=0)
    found: Choices = []
    for count in range(1, most + 1):
        keys = [int(np.argmin(lost[count] + losses[:, n]))]
        for k in range(count, 1, -1):
            keys.append(int(before[k, keys[-1]]))
        found.append(tuple(keys[::-1]))
    return found


def greedy(passes: Passes, most: int) -> Choices:
    """Each time the frame that repairs most; the key frames before it stay."""
    found: Choices = [(0,)]
    while len(found) < most:
        others = sorted(set(range(passes.length)) - set(found[-1]))
        found.append(max((tuple(sorted((*found[-1], i))) for i in others), key=passes.mean))
    return found


def repairs(passes: Passes, keys: Sequence[int], more: Sequence[int]) -> tuple[float, float] | None:
    """What the step from `keys` to `more` gained, and any frame in the mean: parts of the most.

    None where no frame would gain anything.
    """
    before = passes.mean(keys)
    others = sorted(set(range(passes.length)) - set(keys))
    gains = [passes.mean(sorted((*keys, i))) - before for i in others]
    most = max(gains)
    return ((passes.mean(more) - before) / most, fmean(gains) / most) if most > 0 else None


def all_passes(clip: Clip, engine: Engine) -> Passes:
    """From each frame both ways, or from the engine's cache."""
    file = engine.cache / f"{engine.name}-whole" / f"{clip.footage.name}-{clip.length}.npz"
    if not file.exists():
        n = clip.length
        quality, confidence = np.ones((n, n)), np.ones((n, n))
        present = np.ones((n, n), dtype=np.bool_)
        drawn = [clip.labels(i) == 1 for i in range(n)]
        for key in range(n):
            for order in (range(key + 1, n), range(key - 1, -1, -1)):
                for frame, step in zip(order, engine.steps(clip, key, order), strict=True):
                    mask = step.labels == 1
                    j, f = region(mask, drawn[frame]), contour(mask, drawn[frame])
                    quality[key, frame] = (j + f) / 2
                    confidence[key, frame] = np.round(step.confidence[0], 4)
                    present[key, frame] = mask.any()
        file.parent.mkdir(parents=True, exist_ok=True)
        part = file.with_suffix(".part.npz")
        np.savez(part, quality=quality, confidence=confidence, present=present)
        part.replace(file)
    with np.load(file) as data:
        return Passes(data["quality"], data["confidence"], data["present"])


def chosen(clip: Clip, engine: Engine, passes: Passes, most: int) -> dict[str, Choices]:
    """1, 2, ... `most` key frames, by way."""
    return {
        "best": best(passes, most),
        "greedy": greedy(passes, most),
        "suggested": list(Annotator(clip, engine).suggestions(most)),
        "equal": [equal(clip.length, count) for count in range(1, most + 1)],
        "halving": [halving(clip.length, count) for count in range(1, most + 1)],
    }


def main(arguments: Sequence[str] | None = None) -> int:
    """Compute and print; 2: nothing could be measured."""
    given = sys.argv[1:] if arguments is None else list(arguments)
    options = _parser().parse_args(given)
    print(time.strftime("%Y-%m-%d"), machine(), sep="\n")
    print("python -m bench.ceiling", shlex.join(given), flush=True)
    found: dict[str, dict[str, list[float]]] = {}
    shares: list[tuple[float, float]] = []
    try:
        for name in options.clips.split(",") if options.clips else clip_names(options.data):
            clip = Clip(find_clip(name, options.data))
            if any(i not in clip.drawn or clip.labels(i).max() != 1 for i in range(clip.length)):
                print(f"{name}: not every frame has the mask of one object", flush=True)
                continue
            engine = Engine(name="flow", cache=options.cache, whole=True)
            passes = all_passes(clip, engine)
            choices = chosen(clip, engine, passes, options.most)
            found[name] = {way: [passes.mean(keys) for keys in choices[way]] for way in WAYS}
            steps = pairwise(choices["suggested"])
            shares += [each for step in steps if (each := repairs(passes, *step)) is not None]
            for way, own in found[name].items():
                print(f"{name:<16} {way:<10}", *(f"{each:.3f}" for each in own), flush=True)
    except InputError as exc:
        print(exc, file=sys.stderr)
        return 2
    if found:
        _print_means(found)
    if shares:
        ours, anyone = (fmean(each) for each in zip(*shares, strict=True))
        print(f"\na suggested frame repairs {ours:.2f} of what the best next one would,", end=" ")
        print(f"any frame {anyone:.2f} in the mean")
    return 0


def _print_means(found: Mapping[str, Mapping[str, Sequence[float]]]) -> None:
    print("\nmean J&F over clips")
    means = {way: np.mean([own[way] for own in found.values()], axis=0).tolist() for way in WAYS}
    for way in WAYS:
        print(f"{way:<10}", *(f"{each:.3f}" for each in means[way]))
    for others in ("equal", "halving"):
        print(f"\nkey frames for the same J&F, as part of those of: {others}")
        for way in WAYS:
            parts = [fmean(ratios(own[way], own[others])) for own in found.values()]
            by_clip = " ".join(f"{each:.2f}" for each in parts)
            read_off = fmean(ratios_of_means(means[way], means[others]))
            print(
                f"{way:<10} mean {fmean(parts):.2f}   by clip {by_clip}   of means {read_off:.2f}"
            )


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m bench.ceiling", description=(__doc__ or "").partition("\n")[0]
    )
    add = parser.add_argument
    add("--data", type=Path, default=CLIPS, metavar="DIR", help="clips (%(default)s) or DAVIS")
    add("--clips", default="", metavar="A,B", help="default: all")
    add("--most", type=int, default=7, metavar="K", help="key frames (default: %(default)s)")
    add("--cache", type=Path, default=CACHE, metavar="DIR", help="of passes (%(default)s)")
    return parser


if __name__ == "__main__":
    raise SystemExit(main())
