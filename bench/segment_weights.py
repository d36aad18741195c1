"""Fit what the built-in segmenter's cues count: `python -m bench.segment_weights --write`.

Logistic regression on the cells of human masks: of boxes, exact ones and such that a hand draws,
and of simulated clicks as `bench.segment` sets them, with the segmenter as it is (so a second run
fits to the first one's mistakes). Every clip has equal say, and so have object and background; the
constant is then moved to where the mean J is best. The J that is printed is of cells of clips that
the weights were not fitted on: each clip is left out once. What is written is fitted on all.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray
from scipy.optimize import minimize

from bench.clips import CLIPS, clip_names
from bench.measures import region
from bench.segment import cases, next_click
from tracker.segmenters import builtin, builtin_cues
from tracker.segmenters.builtin import BuiltinSegmenter
from tracker.segmenters.builtin_cues import BOX, CLICK, CONSTANT, FIRST, LEARNED, THEN
from tracker.segmenters.builtin_looks import Look

FRAMES = 4  # of a clip
CLICKS = (1, 2, 3, 5)
LOOSE = 0.05  # of a box's sides: how far off a hand draws it
_EVERY = 5  # cells that are fitted on
_RIDGE = 1e-3
_SHIFTS = np.arange(-1.0, 1.01, 0.1)  # of the constant
WEIGHTS = Path(builtin_cues.__file__).with_name("builtin_weights.json")

Floats = NDArray[np.floating]


@dataclass(frozen=True, eq=False)
class Sample:
    """Cells of one prompt that are in question: `cues` by name (N,), whether each is the object.

    `learns`: from the chance of every one of them to the cue of learned looks.
    """

    clip: str
    cues: dict[str, Floats]
    drawn: NDArray[np.bool_]
    learns: Callable[[Floats], Floats]

    def matrix(self, names: Sequence[str]) -> NDArray[np.float64]:
        """The cues `names` side by side, 0 where there is none, (N, K)."""
        none = np.zeros(len(self.drawn))
        return np.stack([self.cues.get(name, none) for name in names], axis=1).astype(np.float64)


def main() -> int:
    """Fit, print J of the clips that were left out, and write the weights where asked to."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--data", type=Path, default=CLIPS, help="folder of clips")
    parser.add_argument("--write", action="store_true", help=f"into {WEIGHTS.name}")
    args = parser.parse_args()
    names = clip_names(args.data)
    if len(names) < 2:
        parser.error(f"there are fewer than two clips in {args.data}")
    samples: dict[str, list[Sample]] = {CLICK: [], BOX: []}
    for name in names:
        for number, (image, drawn) in enumerate(cases(name, args.data, FRAMES)):
            samples[CLICK] += click_samples(name, image, drawn)
            samples[BOX] += box_samples(name, image, drawn, seed=number)
    found: dict[str, dict[str, dict[str, float]]] = {}
    for kind, some in samples.items():
        found[kind] = {stage: rounded(weights) for stage, weights in both(some).items()}
        scores = {name: left_out(some, name) for name in names}
        told = ", ".join(f"{name} {score:.3f}" for name, score in scores.items())
        print(f"{kind}: J of cells {np.mean(list(scores.values())):.3f} ({told})", flush=True)
    if args.write:
        WEIGHTS.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")
    return 0


def click_samples(clip: str, image: NDArray[np.uint8], drawn: NDArray[np.bool_]) -> list[Sample]:
    """After each of `CLICKS` simulated clicks."""
    segmenter = BuiltinSegmenter()
    segmenter.set_image(image)
    look = Look.at(image, builtin.all_of(image))
    edge = builtin_cues.at_edge(look)
    truth, every = _on_cells(look, drawn), np.ones(look.size, dtype=bool)
    marks, samples = np.zeros(drawn.shape, dtype=np.int8), []
    points: list[tuple[int, int]] = []
    labels: list[int] = []
    found = np.zeros_like(drawn)
    for count in range(1, max(CLICKS) + 1):
        click = next_click(found, drawn)
        if click is None:
            break
        points.append(click[:2])
        labels.append(click[2])
        marks[click[1], click[0]] = 1 if click[2] else -1
        if count in CLICKS:
            own, other = builtin.cells(look, marks > 0), builtin.cells(look, marks < 0)
            cues = builtin_cues.clicked(look, own, other & ~own, edge)
            samples.append(_sample(clip, look, cues, truth, every))
        found = segmenter.predict(
            np.array(points, dtype=np.float32), np.array(labels, dtype=np.int64)
        ).mask
    return samples


def box_samples(
    clip: str, image: NDArray[np.uint8], drawn: NDArray[np.bool_], seed: int
) -> list[Sample]:
    """The box round the mask, and one as a hand draws it."""
    rows, columns = np.flatnonzero(drawn.any(axis=1)), np.flatnonzero(drawn.any(axis=0))
    exact = np.array([columns[0], rows[0], columns[-1] + 1, rows[-1] + 1], dtype=np.float32)
    sides = np.tile(exact[2:] - exact[:2], 2)
    off = np.random.default_rng(seed).uniform(-LOOSE, LOOSE, 4) * sides
    height, width = drawn.shape
    loose = np.clip(exact + off, 0, [width, height] * 2).astype(np.float32)
    samples = []
    for box in (exact, loose):
        look = Look.at(image, builtin.round_box(box, image), builtin.NEAR_PIXELS)
        across, down = builtin.in_box(look, box)
        within = (across <= 1) & (down <= 1)
        if within.any():
            cues = builtin_cues.boxed(look, within, across, down)
            samples.append(_sample(clip, look, cues, _on_cells(look, drawn), within))
    return samples


def both(samples: Sequence[Sample]) -> dict[str, dict[str, float]]:
    """Weights of both stages, by stage and cue."""
    first = fitted(samples)
    then = fitted([with_learned(sample, first) for sample in samples])
    return {FIRST: first, THEN: then}


def left_out(samples: Sequence[Sample], clip: str) -> float:
    """Mean J of the cells of `clip` with weights that were fitted on the other clips."""
    weights = both([sample for sample in samples if sample.clip != clip])
    scores = []
    for sample in (sample for sample in samples if sample.clip == clip):
        odds = weighed(with_learned(sample, weights[FIRST]), weights[THEN])
        scores.append(region(odds > 0, sample.drawn))
    return float(np.mean(scores))


def with_learned(sample: Sample, first: dict[str, float]) -> Sample:
    """`sample` with the cue that is learned from what the weights `first` make of it."""
    chance = 1 / (1 + np.exp(-np.clip(weighed(sample, first), -20, 20)))
    cues = {**sample.cues, LEARNED: sample.learns(chance)}
    return Sample(sample.clip, cues, sample.drawn, sample.learns)


def weighed(sample: Sample, weights: dict[str, float]) -> NDArray[np.float64]:
    """The log odds of the sample's cells, (N,)."""
    names = [name for name in weights if name != CONSTANT]
    slopes = np.array([weights[name] for name in names])
    return np.asarray(sample.matrix(names) @ slopes + weights[CONSTANT], dtype=np.float64)


def fitted(samples: Sequence[Sample]) -> dict[str, float]:
    """Weights by cue: logistic regression, then the constant by mean J."""
    names = sorted({name for sample in samples for name in sample.cues})
    clips = [sample.clip for sample in samples]
    cells = [sample.matrix(names)[::_EVERY] for sample in samples]
    drawn = [sample.drawn[::_EVERY] for sample in samples]
    say = [1 / clips.count(sample.clip) for sample in samples]
    weight = np.concatenate(
        [np.full(len(some), share / len(some)) for some, share in zip(cells, say, strict=True)]
    )
    everything = np.concatenate(cells)
    middle, spread = everything.mean(axis=0), everything.std(axis=0) + 1e-6
    slopes = _regressed((everything - middle) / spread, np.concatenate(drawn), weight)
    slopes[:-1] /= spread
    slopes[-1] -= float(slopes[:-1] @ middle)
    odds = [some @ slopes[:-1] + slopes[-1] for some in cells]
    shift = max(
        _SHIFTS,
        key=lambda by: sum(
            share * region(field + by > 0, mask)
            for share, field, mask in zip(say, odds, drawn, strict=True)
        ),
    )
    return {CONSTANT: float(slopes[-1] + shift), **dict(zip(names, slopes.tolist(), strict=False))}


def rounded(weights: dict[str, float]) -> dict[str, float]:
    """To the digits that matter."""
    return {name: round(value, 3) for name, value in weights.items()}


def _regressed(
    cells: NDArray[np.float64], drawn: NDArray[np.bool_], weight: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Slopes of cells (N, K), and a constant behind them, (K + 1,)."""
    cells = np.concatenate([cells, np.ones((len(cells), 1))], axis=1)
    weight = weight / weight.sum()

    def loss(slopes: NDArray[np.float64]) -> tuple[float, NDArray[np.float64]]:
        odds = cells @ slopes
        chance = 1 / (1 + np.exp(-np.clip(odds, -30, 30)))
        free = np.append(slopes[:-1], 0.0)
        value = float((weight * (np.logaddexp(0, odds) - drawn * odds)).sum())
        steep = cells.T @ (weight * (chance - drawn)) + 2 * _RIDGE * free
        return value + _RIDGE * float(free @ free), steep

    start = np.zeros(cells.shape[1])
    return np.asarray(minimize(loss, start, jac=True, method="L-BFGS-B").x, dtype=np.float64)


def _sample(
    clip: str,
    look: Look,
    cues: builtin_cues.Cues,
    drawn: NDArray[np.bool_],
    asked: NDArray[np.bool_],
) -> Sample:
    def learns(chance: Floats) -> Floats:
        field = np.zeros(look.size, dtype=np.float32)
        field[asked] = chance
        return builtin_cues.learned(look, field)[asked]

    return Sample(clip, {name: cue[asked] for name, cue in cues.items()}, drawn[asked], learns)


def _on_cells(look: Look, drawn: NDArray[np.bool_]) -> NDArray[np.bool_]:
    part = drawn[look.window.part].astype(np.float32)
    share = cv2.resize(part, look.size[::-1], interpolation=cv2.INTER_AREA)
    return np.asarray(share >= 0.5, dtype=np.bool_)


if __name__ == "__main__":
    raise SystemExit(main())
