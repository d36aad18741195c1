"""A simulated annotator, and how many key frames it needs: `python -m bench.annotate`.

It draws frame 0, has the clip filled, and then draws one frame after the other, each time with its
true masks, and has it filled again. Which frame comes next is said by `jobs.next_frame`
(suggested), or key frames lie every N-th (equal: for each number of key frames all of them are
placed anew), or they are drawn by lot (random). J&F is the mean over all frames after the first
that have true masks, those that were drawn included, as they are in the result.

*Key frames for the same J&F*: for each clip and each number K of 2 and more, the fewest suggested
key frames that reach the J&F of K equally spaced ones, divided by K; where --most do not reach it,
one more than --most counts. Only what lies between a new key frame and its neighbours is computed
anew where the engine does not learn. Passes are kept in --cache and clips that are done in --json:
a run that was broken off goes on.
"""

from __future__ import annotations

import argparse
import json
import random
import shlex
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from statistics import fmean

import numpy as np

from bench.clips import CLIPS, clip_names, find_clip, label_of
from bench.divergence import CACHE
from bench.judged import Judged, judge_gap
from bench.machine import machine
from bench.measures import contour, region
from bench.passes import Clip, Engine
from errors import InputError
from jobs.next_frame import FrameDoubt, next_frame
from tracker.divergence import reasons, score

WAYS = ("suggested", "equal", "random")
Gap = tuple[int | None, int | None]


@dataclass(frozen=True, slots=True)
class Filled:
    """A frame between key frames. `quality`: its J&F, None where there is no true mask."""

    doubt: FrameDoubt
    quality: float | None


@dataclass(slots=True)
class Annotator:
    """One clip, filled again and again; what does not change is not computed anew."""

    clip: Clip
    engine: Engine
    _known: dict[tuple[Sequence[int], Gap], list[Filled]] = field(default_factory=dict)

    def fill(self, keys: Sequence[int]) -> list[Filled]:
        """All frames but the key frames, with true masks on `keys`."""
        return [each for gap in pairwise([None, *keys, None]) for each in self._gap(keys, gap)]

    def quality(self, keys: Sequence[int]) -> float:
        """Mean J&F of the result, drawn frames included, without the first frame."""
        found = [each.quality for each in self.fill(keys) if each.quality is not None]
        drawn = [1.0 for key in keys if key > 0]
        return fmean(found + drawn)

    def suggested(self, keys: Sequence[int]) -> tuple[int, ...]:
        """The key frames and the suggested one; the same ones where nothing is suggested."""
        doubts = [each.doubt for each in self.fill(keys) if each.quality is not None]
        found = next_frame(1, doubts, keys)
        return tuple(keys) if found is None else tuple(sorted({*keys, found.frame}))

    def _gap(self, keys: Sequence[int], gap: Gap) -> list[Filled]:
        at = (tuple(keys) if self.engine.learns else (), gap)
        if at not in self._known:
            found = judge_gap(self.clip, self.engine, keys, *gap)
            self._known[at] = [_filled(self.clip, each) for each in found]
        return self._known[at]


def main(arguments: Sequence[str] | None = None) -> int:
    """Annotate and print; 2: nothing could be measured."""
    given = sys.argv[1:] if arguments is None else list(arguments)
    options = _parser().parse_args(given)
    print(time.strftime("%Y-%m-%d"), machine(), sep="\n")
    print("python -m bench.annotate", shlex.join(given), flush=True)
    engine = Engine(name=options.engine, cache=options.cache)
    curves: dict[str, dict[str, list[float]]] = {}
    if options.json and options.json.exists():
        curves = json.loads(options.json.read_text(encoding="utf-8"))
    try:
        for name in options.clips.split(",") if options.clips else clip_names(options.data):
            clip = Clip(find_clip(name, options.data))
            if len(clip.drawn) < clip.length:
                print(f"{name}: not every frame has true masks", flush=True)
                continue
            if name not in curves:
                curves[name] = annotate(Annotator(clip, engine), options.most, options.seed)
            for way in WAYS:
                figures = " ".join(f"{each:.3f}" for each in curves[name][way])
                print(f"{name:<16} {way:<10} {figures}", flush=True)
            if options.json:
                options.json.write_text(json.dumps(curves, indent=1) + "\n", encoding="utf-8")
    except InputError as exc:
        print(exc, file=sys.stderr)
        return 2
    if curves:
        _print_means(curves)
    return 0


def annotate(annotator: Annotator, most: int, seed: int) -> dict[str, list[float]]:
    """J&F with 1, 2, ... `most` key frames, each way of choosing them."""
    length = annotator.clip.length
    chance = random.Random(seed)
    lots = chance.sample(range(1, length), most - 1)

    def equal(count: int) -> tuple[int, ...]:
        return tuple(round(i * length / count) for i in range(count))

    def by_lot(count: int) -> tuple[int, ...]:
        return tuple(sorted({0, *lots[: count - 1]}))

    found: dict[str, list[float]] = {way: [] for way in WAYS}
    keys: tuple[int, ...] = (0,)
    for count in range(1, most + 1):
        found["suggested"].append(annotator.quality(keys))
        keys = annotator.suggested(keys)
        choices: tuple[tuple[str, Callable[[int], tuple[int, ...]]], ...]
        choices = (("equal", equal), ("random", by_lot))
        for way, choose in choices:
            found[way].append(annotator.quality(choose(count)))
    return found


def needed(curve: Sequence[float], target: float) -> int:
    """The fewest key frames whose J&F in `curve` reaches `target`; one more than all where none."""
    return next((k for k, reached in enumerate(curve, 1) if reached >= target), len(curve) + 1)


def ratios(curve: Sequence[float], equal: Sequence[float]) -> list[float]:
    """For 2, 3, ... equally spaced key frames: those that `curve` needs for the same, as a part."""
    return [needed(curve, target) / k for k, target in enumerate(equal, 1) if k > 1]


def _filled(clip: Clip, each: Judged) -> Filled:
    scores = score(each.signs, each.kind)
    known = np.flatnonzero(each.known).tolist()
    worst = max(known, key=lambda k: scores[k])
    doubt = FrameDoubt(
        frame=each.frame,
        objects=len(known),
        loss=float(scores[known].sum()),
        worst=worst + 1,
        label=label_of(worst + 1),
        score=float(scores[worst]),
        why=reasons(each.signs, each.kind)[worst].name.lower(),
    )
    if each.frame not in clip.drawn:
        return Filled(doubt, None)
    drawn = clip.labels(each.frame)
    qualities = [
        (
            region(each.labels == k + 1, drawn == k + 1)
            + contour(each.labels == k + 1, drawn == k + 1)
        )
        / 2
        for k in known
    ]
    return Filled(doubt, fmean(qualities))


def _print_means(curves: dict[str, dict[str, list[float]]]) -> None:
    print("\nmean J&F over clips")
    most = len(next(iter(curves.values()))["equal"])
    print(f"{'key frames':<16}", " ".join(f"{k:>5}" for k in range(1, most + 1)))
    for way in WAYS:
        means = [fmean(own[way][k] for own in curves.values()) for k in range(most)]
        print(f"{way:<16}", " ".join(f"{mean:5.3f}" for mean in means))
    print("\nkey frames for the same J&F, as part of equally spaced ones")
    for way in ("suggested", "random"):
        parts = [ratios(own[way], own["equal"]) for own in curves.values()]
        own = [fmean(each) for each in parts]
        by_count = " ".join(f"{fmean(each[k] for each in parts):5.2f}" for k in range(most - 1))
        print(f"{way:<16}       {by_count}   mean {fmean(own):.2f}")


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m bench.annotate", description=(__doc__ or "").partition("\n")[0]
    )
    add = parser.add_argument
    add("--data", type=Path, default=CLIPS, metavar="DIR", help="clips (%(default)s) or DAVIS")
    add("--clips", default="", metavar="A,B", help="default: all")
    add("--engine", default="flow", metavar="NAME", help="default: flow")
    add("--most", type=int, default=8, metavar="K", help="key frames (default: %(default)s)")
    add("--seed", type=int, default=0, help="of the frames drawn by lot")
    add("--cache", type=Path, default=CACHE, metavar="DIR", help="of passes (%(default)s)")
    add("--json", type=Path, metavar="FILE", help="keep J&F of every clip there")
    return parser


if __name__ == "__main__":
    raise SystemExit(main())
