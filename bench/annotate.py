"""A simulated annotator, and how many key frames it needs: `python -m bench.annotate`.

It draws frame 0, has the clip filled, and then draws one frame after the other, each time with its
true masks, and has it segmented again as the product does: only what lies between the new key
frame and its neighbours is computed anew, and an engine that learns goes on from what it learned
before. J&F is the mean over all frames after the first that have true masks, those that were drawn
included, as they are in the result. Which frames it draws:

- suggested: the one that `jobs.next_frame` names
- equal: 0, n/K, 2n/K, ... for K key frames; for each K all of them are placed anew, so that whoever
  draws them has to know K beforehand, and filled in a first run
- halving: 0, n/2, n/4, 3n/4, n/8, ...: one after the other as well, in the middle of what is empty
- random: drawn by lot

*Key frames for the same J&F*: for each clip and each number K of 2 and more, the fewest suggested
key frames that reach the J&F of K equally spaced ones (or of K by halving), divided by K; where
--most do not reach it, one more than --most counts. The same is read off the means over clips.
With several --seeds, of engine and lots, J&F is their mean. Passes are kept in --cache and ways
that are done in --json: a run that was broken off goes on.
"""

from __future__ import annotations

import argparse
import json
import random
import shlex
import sys
import time
from collections.abc import Mapping, Sequence
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
from bench.passes import Clip, Engine, Rounds
from errors import InputError
from jobs.next_frame import FrameDoubt, next_frame
from tracker.divergence import reasons, score

WAYS = ("suggested", "equal", "halving", "random")
BESIDE = ("equal", "halving")  # what the others are measured by
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
    _known: dict[tuple[Rounds, Gap], list[Filled]] = field(default_factory=dict)

    def fill(self, rounds: Rounds) -> list[Filled]:
        """All frames but the key frames after the last of `rounds`, each with one key frame more.

        What is between two key frames is what the run made of it that came with the later of them.
        """
        gaps = pairwise([None, *rounds[-1], None])
        return [each for gap in gaps for each in self._gap(_run_of(rounds, gap), gap)]

    def quality(self, rounds: Rounds) -> float:
        """Mean J&F of the result, drawn frames included, without the first frame."""
        found = [each.quality for each in self.fill(rounds) if each.quality is not None]
        drawn = [1.0 for key in rounds[-1] if key > 0]
        return fmean(found + drawn)

    def suggestion(self, rounds: Rounds) -> int | None:
        """The frame to draw next; None where nothing is suggested."""
        doubts = [each.doubt for each in self.fill(rounds) if each.quality is not None]
        named = next_frame(1, doubts, rounds[-1])
        return None if named is None else named.frame

    def suggestions(self, most: int) -> Rounds:
        """1, 2, ... `most` key frames, by suggestion; they stay where nothing is suggested."""
        rounds: Rounds = ((0,),)
        while len(rounds) < most:
            named = self.suggestion(rounds)
            rounds = (*rounds, tuple(sorted({*rounds[-1], *([] if named is None else [named])})))
        return rounds

    def _gap(self, rounds: Rounds, gap: Gap) -> list[Filled]:
        at = (rounds if self.engine.learns else (), gap)
        if at not in self._known:
            found = judge_gap(self.clip, self.engine, rounds, *gap)
            self._known[at] = [_filled(self.clip, each) for each in found]
        return self._known[at]


def _run_of(rounds: Rounds, gap: Gap) -> Rounds:
    """The rounds up to the first one that has both ends of a gap."""
    ends = {end for end in gap if end is not None}
    first = next(number for number, keys in enumerate(rounds) if ends <= set(keys))
    return rounds[: first + 1]


def main(arguments: Sequence[str] | None = None) -> int:
    """Annotate and print; 2: nothing could be measured."""
    given = sys.argv[1:] if arguments is None else list(arguments)
    options = _parser().parse_args(given)
    print(time.strftime("%Y-%m-%d"), machine(), sep="\n")
    print("python -m bench.annotate", shlex.join(given), flush=True)
    known: dict[str, dict[str, dict[str, list[float]]]] = {}  # J&F by clip, way and seed
    if options.json and options.json.exists():
        known = json.loads(options.json.read_text(encoding="utf-8"))
    curves: dict[str, dict[str, list[float]]] = {}
    try:
        for name in options.clips.split(",") if options.clips else clip_names(options.data):
            clip = Clip(find_clip(name, options.data))
            if len(clip.drawn) < clip.length:
                print(f"{name}: not every frame has true masks", flush=True)
                continue
            seeded = [
                Engine(name=options.engine, cache=options.cache, seed=s) for s in options.seeds
            ]
            annotators = [Annotator(clip, engine) for engine in seeded]
            for way in options.ways:
                own = known.setdefault(name, {}).setdefault(way, {})
                for annotator in annotators:
                    seed = annotator.engine.seed
                    if len(own.get(str(seed), [])) < options.most:
                        own[str(seed)] = annotate(annotator, way, options.most)
                        if options.json:
                            text = json.dumps(known, indent=1) + "\n"
                            options.json.write_text(text, encoding="utf-8")
                mean = np.mean([own[str(seed)][: options.most] for seed in options.seeds], axis=0)
                curves.setdefault(name, {})[way] = mean.tolist()
                figures = " ".join(f"{each:.3f}" for each in mean)
                print(f"{name:<16} {way:<10} {figures}", flush=True)
    except InputError as exc:
        print(exc, file=sys.stderr)
        return 2
    if curves:
        _print_means(curves, options.most)
    return 0


def annotate(annotator: Annotator, way: str, most: int) -> list[float]:
    """J&F with 1, 2, ... `most` key frames, chosen in one of `WAYS`; lots are the engine's seed."""
    length, counts = annotator.clip.length, range(1, most + 1)
    if way == "equal":
        return [annotator.quality((equal(length, count),)) for count in counts]
    if way == "suggested":
        rounds = annotator.suggestions(most)
    elif way == "halving":
        rounds = tuple(halving(length, count) for count in counts)
    else:
        lots = (0, *random.Random(annotator.engine.seed).sample(range(1, length), most - 1))
        rounds = tuple(tuple(sorted(lots[:count])) for count in counts)
    return [annotator.quality(rounds[:count]) for count in counts]


def equal(length: int, count: int) -> tuple[int, ...]:
    """So many key frames of a clip of `length` frames, at the same distances."""
    return tuple(round(i * length / count) for i in range(count))


def halving(length: int, count: int) -> tuple[int, ...]:
    """The first ones of 0, 1/2, 1/4, 3/4, 1/8, 5/8, ... of the clip, ascending."""
    return tuple(sorted(round(halved(i) * length) for i in range(count)))


def halved(index: int) -> float:
    """0, 1/2, 1/4, 3/4, 1/8, 5/8, ...: each next one in the middle of what is still empty."""
    bits = f"{index:b}"[::-1]
    return int(bits, 2) / (1 << len(bits))


def needed(curve: Sequence[float], target: float) -> int:
    """The fewest key frames whose J&F in `curve` reaches `target`; one more than all where none."""
    return next((k for k, reached in enumerate(curve, 1) if reached >= target), len(curve) + 1)


def ratios(curve: Sequence[float], equal: Sequence[float]) -> list[float]:
    """For 2, 3, ... equally spaced key frames: those that `curve` needs for the same, as a part."""
    return [needed(curve, target) / k for k, target in enumerate(equal, 1) if k > 1]


def ratios_of_means(curve: Sequence[float], equal: Sequence[float]) -> list[float]:
    """As `ratios` for means over clips, with straight lines between the counts of `curve`."""
    found = []
    for k, target in list(enumerate(equal, 1))[1:]:
        count = float(needed(curve, target))
        if 1 < count <= len(curve):
            before, after = curve[int(count) - 2 : int(count)]
            count -= (after - target) / (after - before)
        found.append(count / k)
    return found


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


def _print_means(curves: Mapping[str, Mapping[str, Sequence[float]]], most: int) -> None:
    ways = [way for way in WAYS if all(way in own for own in curves.values())]
    means: dict[str, list[float]] = {}
    print("\nmean J&F over clips")
    print(f"{'key frames':<16}", " ".join(f"{k:>5}" for k in range(1, most + 1)))
    for way in ways:
        means[way] = [fmean(own[way][k] for own in curves.values()) for k in range(most)]
        print(f"{way:<16}", " ".join(f"{mean:5.3f}" for mean in means[way]))
    for others in (way for way in BESIDE if way in ways and len(ways) > 1):
        print(f"\nkey frames for the same J&F, as part of those of: {others}")
        for way in (way for way in ways if way != others):
            parts = [ratios(own[way][:most], own[others][:most]) for own in curves.values()]
            own = " ".join(f"{fmean(each):5.2f}" for each in parts)
            by_count = " ".join(f"{fmean(each[k] for each in parts):5.2f}" for k in range(most - 1))
            mean = fmean(map(fmean, parts))
            print(f"{way:<16}       {by_count}   mean {mean:.2f}   by clip {own}")
        print("the same, read off the means over clips")
        for way in (way for way in ways if way != others):
            parts_of_means = ratios_of_means(means[way], means[others])
            by_count = " ".join(f"{each:5.2f}" for each in parts_of_means)
            print(f"{way:<16}       {by_count}   mean {fmean(parts_of_means):.2f}")


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m bench.annotate", description=(__doc__ or "").partition("\n")[0]
    )
    add = parser.add_argument
    add("--data", type=Path, default=CLIPS, metavar="DIR", help="clips (%(default)s) or DAVIS")
    add("--clips", default="", metavar="A,B", help="default: all")
    add("--engine", default="flow", metavar="NAME", help="default: flow")
    add("--ways", nargs="+", choices=WAYS, default=WAYS, metavar="WAY", help="default: all")
    add("--most", type=int, default=8, metavar="K", help="key frames (default: %(default)s)")
    add("--seeds", type=int, nargs="+", default=[0], metavar="N", help="default: 0")
    add("--cache", type=Path, default=CACHE, metavar="DIR", help="of passes (%(default)s)")
    add("--json", type=Path, metavar="FILE", help="keep J&F of every clip there")
    return parser


if __name__ == "__main__":
    raise SystemExit(main())
