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
With several --seeds, of engine and lots, J&F is their mean.

Beside these ways of one clip each stands one of all clips *together*, as somebody goes on who
orders the dashboard by what the next correction repairs: every clip has its frame 0 drawn, and each
further key frame is the suggested one of the clip that is expected to gain most by it. It is
compared with the same number of key frames to every clip, at equal distances or by halving.

Passes are kept in --cache and ways
that are done in --json: a run that was broken off goes on.
"""

from __future__ import annotations

import argparse
import json
import random
import shlex
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
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
from jobs.views import NextFrameView
from tracker.divergence import reasons, score

WAYS = ("suggested", "equal", "halving", "random")
TOGETHER = "together"
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

    def suggestion(self, rounds: Rounds) -> NextFrameView | None:
        """The frame to draw next; None where nothing is suggested."""
        doubts = [each.doubt for each in self.fill(rounds) if each.quality is not None]
        return next_frame(1, doubts, rounds[-1])

    def suggestions(self, most: int) -> Rounds:
        """1, 2, ... `most` key frames, by suggestion; they stay where nothing is suggested."""
        rounds: Rounds = ((0,),)
        while len(rounds) < most:
            named = self.suggestion(rounds)
            rounds = (*rounds, rounds[-1] if named is None else with_key(rounds[-1], named.frame))
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
    kept, most = Kept(options.json), options.most
    curves: dict[str, dict[str, list[float]]] = {}
    whole: list[float] = []
    try:
        clips = _clips(options.clips.split(",") if options.clips else None, options.data)
        engines = [Engine(name=options.engine, cache=options.cache, seed=s) for s in options.seeds]
        by_seed = [[Annotator(clip, engine) for clip in clips] for engine in engines]
        for seeded in zip(*by_seed, strict=True):
            name = seeded[0].clip.footage.name
            for way in (way for way in options.ways if way != TOGETHER):
                found = [
                    kept.get((name, way, each), most, partial(annotate, each, way, most))
                    for each in seeded
                ]
                curves.setdefault(name, {})[way] = _mean(found)
                print(f"{name:<16} {way:<10} {_figures(curves[name][way])}", flush=True)
        if clips and TOGETHER in options.ways:
            names = ",".join(clip.footage.name for clip in clips)
            counts = 1 + (most - 1) * len(clips)
            found = [
                kept.get((names, TOGETHER, each[0]), counts, partial(annotate_together, each, most))
                for each in by_seed
            ]
            whole = _mean(found)
    except InputError as exc:
        print(exc, file=sys.stderr)
        return 2
    if curves:
        _print_means(curves, most)
    if whole:
        _print_together(_means(curves), whole, len(clips))
    return 0


@dataclass(frozen=True, slots=True)
class Kept:
    """The J&F of ways that are done, by clip, way and seed; in a file where there is one."""

    file: Path | None
    _known: dict[str, dict[str, dict[str, list[float]]]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.file and self.file.exists():
            self._known.update(json.loads(self.file.read_text(encoding="utf-8")))

    def get(
        self, of: tuple[str, str, Annotator], count: int, make: Callable[[], list[float]]
    ) -> list[float]:
        """The first `count` values of a clip (or several), a way and an annotator's seed."""
        own = self._known.setdefault(of[0], {}).setdefault(of[1], {})
        seed = str(of[2].engine.seed)
        if len(own.get(seed, [])) < count:
            own[seed] = make()
            if self.file:
                self.file.write_text(json.dumps(self._known, indent=1) + "\n", encoding="utf-8")
        return own[seed][:count]


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


def together(annotators: Sequence[Annotator], most: int) -> Iterator[tuple[Rounds, ...]]:
    """The rounds of every clip with one key frame each, then with one more of one clip each time.

    As long as `most` key frames a clip in the mean are not reached and something is suggested.
    """
    rounds: list[Rounds] = [((0,),) for _ in annotators]
    yield tuple(rounds)
    named = [each.suggestion(own) for each, own in zip(annotators, rounds, strict=True)]
    for _ in range((most - 1) * len(annotators)):
        gains = [0.0 if each is None else each.repairs for each in named]
        first = int(np.argmax(gains))
        found = named[first]
        if found is None:
            return
        rounds[first] = (*rounds[first], with_key(rounds[first][-1], found.frame))
        yield tuple(rounds)
        named[first] = annotators[first].suggestion(rounds[first])


def annotate_together(annotators: Sequence[Annotator], most: int) -> list[float]:
    """Mean J&F over clips with one key frame each, one more in all, and so on: see `together`."""
    found = [
        fmean(each.quality(own) for each, own in zip(annotators, rounds, strict=True))
        for rounds in together(annotators, most)
    ]
    return found + found[-1:] * (1 + (most - 1) * len(annotators) - len(found))


def with_key(keys: Sequence[int], key: int) -> tuple[int, ...]:
    """Key frames with one more, ascending."""
    return tuple(sorted({*keys, key}))


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


def ratios_together(whole: Sequence[float], equal: Sequence[float], clips: int) -> list[float]:
    """For 2, 3, ... key frames to every clip: those that all together need, as a part.

    `whole`: J&F with so many key frames as there are clips, with one more, and so on.
    """
    counts = [needed(whole, target) + clips - 1 for target in equal]
    return [count / (k * clips) for k, count in enumerate(counts, 1) if k > 1]


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


def _clips(names: Sequence[str] | None, data: Path) -> list[Clip]:
    """Those that have true masks on every frame."""
    found = []
    for name in clip_names(data) if names is None else names:
        clip = Clip(find_clip(name, data))
        if len(clip.drawn) == clip.length:
            found.append(clip)
        else:
            print(f"{name}: not every frame has true masks", flush=True)
    return found


def _mean(curves: Sequence[Sequence[float]]) -> list[float]:
    found: list[float] = np.mean(curves, axis=0).tolist()
    return found


def _figures(values: Iterable[float], digits: int = 3) -> str:
    return " ".join(f"{each:5.{digits}f}" for each in values)


def _print_means(curves: Mapping[str, Mapping[str, Sequence[float]]], most: int) -> None:
    means = _means(curves)
    print("\nmean J&F over clips")
    print(f"{'key frames':<16}", " ".join(f"{k:>5}" for k in range(1, most + 1)))
    for way, mean in means.items():
        print(f"{way:<16}", _figures(mean))
    for others in (way for way in BESIDE if way in means and len(means) > 1):
        print(f"\nkey frames for the same J&F, as part of those of: {others}")
        for way in (way for way in means if way != others):
            parts = [ratios(own[way], own[others]) for own in curves.values()]
            by_count = (fmean(each[k] for each in parts) for k in range(most - 1))
            all_in_all = fmean(map(fmean, parts))
            own = _figures(map(fmean, parts), 2)
            print(
                f"{way:<16}       {_figures(by_count, 2)}   mean {all_in_all:.2f}   by clip {own}"
            )
        print("the same, read off the means over clips")
        for way in (way for way in means if way != others):
            found = ratios_of_means(means[way], means[others])
            print(f"{way:<16}       {_figures(found, 2)}   mean {fmean(found):.2f}")


def _print_together(
    means: Mapping[str, Sequence[float]], whole: Sequence[float], clips: int
) -> None:
    print("\nmean J&F over clips, key frames given where most is expected to be repaired")
    reached = whole[::clips]
    print(f"{'key frames':<16}", " ".join(f"{k * clips:>5}" for k in range(1, len(reached) + 1)))
    print(f"{TOGETHER:<16}", _figures(reached))
    for others in (way for way in BESIDE if way in means):
        found = ratios_together(whole, means[others], clips)
        print(f"part of {others:<8}       {_figures(found, 2)}   mean {fmean(found):.2f}")


def _means(curves: Mapping[str, Mapping[str, Sequence[float]]]) -> dict[str, list[float]]:
    ways = [way for way in WAYS if curves and all(way in own for own in curves.values())]
    return {way: _mean([own[way] for own in curves.values()]) for way in ways}


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m bench.annotate", description=(__doc__ or "").partition("\n")[0]
    )
    add = parser.add_argument
    add("--data", type=Path, default=CLIPS, metavar="DIR", help="clips (%(default)s) or DAVIS")
    add("--clips", default="", metavar="A,B", help="default: all")
    add("--engine", default="flow", metavar="NAME", help="default: flow")
    add(
        "--ways",
        nargs="+",
        choices=(*WAYS, TOGETHER),
        default=(*WAYS, TOGETHER),
        metavar="WAY",
        help="default: all",
    )
    add("--most", type=int, default=8, metavar="K", help="key frames (default: %(default)s)")
    add("--seeds", type=int, nargs="+", default=[0], metavar="N", help="default: 0")
    add("--cache", type=Path, default=CACHE, metavar="DIR", help="of passes (%(default)s)")
    add("--json", type=Path, metavar="FILE", help="keep J&F of every clip there")
    return parser


if __name__ == "__main__":
    raise SystemExit(main())
