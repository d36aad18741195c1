"""How well divergence tells bad masks from good ones: `python -m bench.divergence`.

Clips are tracked with several patterns of key frames by several engines. The weights are fitted to
the true masks, and judged on clips that had no part in the fit (leave one clip out): AUC is the
chance that a bad mask (IoU below 0.7) gets a higher score than a good one. The last lines are the
table of `tracker.signs`, fitted to all clips. Passes are kept in --cache, so that a run that was
broken off goes on.
"""

from __future__ import annotations

import argparse
import random
import shlex
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import minimize
from scipy.stats import rankdata

from bench.clips import CLIPS, clip_names, find_clip
from bench.judged import judge
from bench.machine import machine
from bench.passes import Clip, Engine
from errors import InputError
from tracker.signs import Kind, Sign

Floats = NDArray[np.float64]

BAD = 0.7  # IoU below which a mask is bad
CACHE = Path(tempfile.gettempdir()) / "mask-relay-passes"
PATTERNS = ("first", "every 20", "2 random", "3 random")
_RIDGE = 1e-3
_ENOUGH = 40  # masks of a run; where there are more, all of them together count as these
_MOST = 6.0  # that a sign may weigh: of some there are few examples
_FUSED_ONLY = (Sign.APART, Sign.MISSED)


@dataclass(frozen=True, slots=True, eq=False)
class Sample:
    """One mask. `signs`: (len(Sign),). `loss`: 1 - IoU with the true one."""

    clip: str
    engine: str
    pattern: str
    kind: Kind
    signs: Floats
    loss: float


@dataclass(frozen=True, slots=True, eq=False)
class Fit:
    """Weights by sign, (len(Sign),), in the signs' own units."""

    constant: float
    weights: Floats

    def score(self, signs: Floats) -> Floats:
        """Of rows of signs."""
        return np.asarray(1 / (1 + np.exp(-(self.constant + signs @ self.weights))))


def main(arguments: Sequence[str] | None = None) -> int:
    """Track, fit, judge, print; 2: nothing could be measured."""
    given = sys.argv[1:] if arguments is None else list(arguments)
    options = _parser().parse_args(given)
    names = options.clips.split(",") if options.clips else clip_names(options.data)
    print(time.strftime("%Y-%m-%d"), machine(), sep="\n")
    print("python -m bench.divergence", shlex.join(given))
    try:
        clips = [Clip(find_clip(name, options.data)) for name in names]
        samples = [
            sample
            for name, _, pattern in (each.partition(":") for each in options.engine)
            for sample in collect(
                Engine(name=name, cache=options.cache), clips, [pattern] if pattern else PATTERNS
            )
        ]
    except InputError as exc:
        print(exc, file=sys.stderr)
        return 2
    for kind in Kind:
        own = [sample for sample in samples if sample.kind is kind]
        if len({sample.clip for sample in own}) > 1:
            _print_table(kind, own)
    return 0


def key_frames(clip: Clip, pattern: str) -> tuple[int, ...]:
    """The key frames of a pattern; random ones are the same ones every time."""
    if pattern not in PATTERNS:
        raise InputError(
            f"There is no pattern {pattern!r} of key frames: use {', '.join(PATTERNS)}."
        )
    if pattern == "first":
        return clip.drawn[:1]
    if pattern == "every 20":
        return tuple(frame for frame in clip.drawn if frame % 20 == 0)
    chance = random.Random(clip.footage.name)
    two, three = chance.sample(clip.drawn, 2), chance.sample(clip.drawn, 3)
    return tuple(sorted(two if pattern == "2 random" else three))


def collect(engine: Engine, clips: Sequence[Clip], patterns: Sequence[str]) -> Iterator[Sample]:
    """All masks of one engine of which there is a true one."""
    for clip in clips:
        for pattern in patterns:
            for each in judge(clip, engine, key_frames(clip, pattern)):
                for number, loss in each.losses(clip):
                    signs = each.signs[number - 1].astype(np.float64)
                    yield Sample(clip.footage.name, engine.name, pattern, each.kind, signs, loss)


def fit(samples: Sequence[Sample]) -> Fit:
    """Weights of 0 and more that make the scores likeliest; no run counts for too much."""
    signs, loss = _arrays(samples)
    runs = [(each.clip, each.engine, each.pattern) for each in samples]
    frames = Counter(runs)
    share = np.array([min(1.0, _ENOUGH / frames[run]) for run in runs])
    share /= share.sum()
    columns = [sign for sign in Sign if samples[0].kind is Kind.FUSED or sign not in _FUSED_ONLY]
    scale = signs[:, columns].std(axis=0) + 1e-6
    scaled = signs[:, columns] / scale

    def cost(found: Floats) -> tuple[float, Floats]:
        total = found[0] + scaled @ found[1:]
        off = share * (1 / (1 + np.exp(-total)) - loss)
        value = share @ (np.logaddexp(0, total) - loss * total) + _RIDGE * found[1:] @ found[1:]
        return float(value), np.concatenate([[off.sum()], scaled.T @ off + 2 * _RIDGE * found[1:]])

    bounds = [(None, None), *((0, _MOST * each) for each in scale)]
    found = minimize(cost, np.zeros(len(bounds)), jac=True, bounds=bounds, method="L-BFGS-B").x
    weights = np.zeros(len(Sign))
    weights[columns] = found[1:] / scale
    return Fit(float(found[0]), weights)


def left_out(samples: Sequence[Sample]) -> Floats:
    """The score of every sample by weights fitted to the other clips."""
    scores = np.zeros(len(samples))
    for clip in {sample.clip for sample in samples}:
        own = np.array([sample.clip == clip for sample in samples])
        others = [sample for sample in samples if sample.clip != clip]
        scores[own] = fit(others).score(_arrays(samples)[0][own])
    return scores


def auc(scores: Floats, bad: NDArray[np.bool_]) -> float | None:
    """The chance that a bad one has a higher score than a good one; None where one kind lacks."""
    count, rest = int(bad.sum()), int((~bad).sum())
    if not count or not rest:
        return None
    ranks = rankdata(scores)
    return float((ranks[bad].sum() - count * (count + 1) / 2) / (count * rest))


def _arrays(samples: Sequence[Sample]) -> tuple[Floats, Floats]:
    return np.array([each.signs for each in samples]), np.array([each.loss for each in samples])


def _print_table(kind: Kind, samples: Sequence[Sample]) -> None:
    scores, loss = left_out(samples), _arrays(samples)[1]
    bad = loss > 1 - BAD
    print(f"\n{kind} passes: leave one clip out")
    print(f"{'':<24} {'masks':>6} {'bad':>6} {'AUC':>6} {'1 - IoU':>8} {'score':>6}")
    engines = sorted({each.engine for each in samples})
    for engine in engines:
        here = np.array([each.engine == engine for each in samples])
        rows: dict[str, NDArray[np.bool_]] = {"all": here}
        for pattern in PATTERNS:
            rows[pattern] = here & np.array([each.pattern == pattern for each in samples])
        for clip in sorted({each.clip for each in samples}):
            rows[clip] = here & np.array([each.clip == clip for each in samples])
        for name, part in rows.items():
            if part.any():
                _print_row(f"{engine}, {name}", scores[part], loss[part], bad[part])
    _print_row("all engines", scores, loss, bad)
    _print_weights(kind, samples)


def _print_row(name: str, scores: Floats, loss: Floats, bad: NDArray[np.bool_]) -> None:
    found = auc(scores, bad)
    shown = "-" if found is None else f"{found:.3f}"
    print(
        f"{name:<24} {len(bad):>6} {bad.sum():>6} {shown:>6} {loss.mean():>8.3f} "
        f"{scores.mean():>6.3f}"
    )


def _print_weights(kind: Kind, samples: Sequence[Sample]) -> None:
    found = fit(samples)
    signs, loss = _arrays(samples)
    usual: Mapping[Sign, float] = dict(zip(Sign, signs[loss <= 1 - BAD].mean(axis=0), strict=True))
    print(f"\nweights, {kind}: constant {found.constant:.2f}")
    for sign in Sign:
        if found.weights[sign] >= 0.005:
            print(f"    Sign.{sign.name}: ({found.weights[sign]:.2f}, {usual[sign]:.2f}),")


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m bench.divergence", description=(__doc__ or "").partition("\n")[0]
    )
    add = parser.add_argument
    add("--data", type=Path, default=CLIPS, metavar="DIR", help="clips (%(default)s) or DAVIS")
    add("--clips", default="", metavar="A,B", help="default: all")
    add(
        "--engine",
        nargs="+",
        default=["builtin", "flow"],
        metavar="NAME[:PATTERN]",
        help="with one pattern of key frames, such as builtin:first (default: with all of them)",
    )
    add("--cache", type=Path, default=CACHE, metavar="DIR", help="of passes (%(default)s)")
    return parser


if __name__ == "__main__":
    raise SystemExit(main())
