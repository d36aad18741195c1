"""How masks decay on the way from a key frame, step by step, as the scores of a run tell it.

A pass carries a mask from frame to frame, and each step keeps a share of it: after steps that cost
c1, c2, ... a mask is expected to have an IoU of exp(-(c1 + c2 + ...)). The costs belong to the
frames, not to the pass: a turn or an occlusion costs the same from whichever key frame one comes.
So the scores of one run tell what to expect of passes from key frames that nobody has drawn yet.

What masks lack already a few steps from a key frame (a border that is never quite right) is no such
cost: they will lack it beside every other key frame too, however many are drawn. It is the entry of
every pass, and no correction gives it back.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]

_MOST = 0.98  # of a mask that is thought to be wrong: none decays without end
_LEAST_LOSS = 1e-9  # of a gap's masks: where steps cost nothing, a correction repairs all
# What corrections repaired of what costs say that they may: .4 with `builtin`, .65 with `flow`, in
# the mean of a simulated annotator's (docs/quality.md).
_REPAIRED = 0.5
_BESIDE = 3  # steps from a key frame, of which the entry is read
_LARGEST_ENTRY = 0.1  # a mask that lacks more there has lost something that a person can give back
_TRUST = 3  # steps of a mask of which a share s is left count s to this power


@dataclass(frozen=True, slots=True, eq=False)
class Decay:
    """What was seen of the steps of one gap, whose frames are 1 to m, and 0 and m + 1 its ends.

    `costs`: (steps,), of the step from frame i to frame i + 1, 0 and more, without the entry.
    `left`: (steps,), the share of the mask in (0, 1] that was right when that step was made, which
    says how far its cost can be believed.
    """

    costs: Floats
    left: Floats

    def believed(self, usual: float) -> Floats:
        """The costs, (steps,), and `usual` for what was seen of a mask that was lost already."""
        trust = self.left**_TRUST
        return np.asarray(trust * self.costs + (1.0 - trust) * usual)


@dataclass(frozen=True, slots=True, eq=False)
class Gap:
    """The frames between two key frames, or from one to where the pass ends (`open_end`).

    `places`: (m,), of the frames in the run's arrays, in order from a key frame on. `costs`: of the
    steps from that key frame through all of them, (m,), to the other key frame (m + 1,). `entry`:
    what every pass costs besides. `forward`: only the pass from that key frame runs, whatever comes
    behind (`open_end` then).
    """

    places: NDArray[np.intp]
    costs: Floats
    entry: float
    open_end: bool
    forward: bool = False

    def lost(self) -> Floats:
        """What each mask is expected to lose, (m,) in [0, 1]."""
        return np.asarray(-np.expm1(-self.entry - self._way()))

    def _way(self) -> Floats:
        """The sum of the costs to each frame, (m,).

        Where two passes meet, a mask is taken to be as good as that of the pass that lost less.
        """
        way = np.cumsum(self.costs)
        return way if self.open_end else np.minimum(way, way[-1] - way)[:-1]

    def split(self, place: int) -> tuple[Gap, Gap]:
        """What is on either side of one of its frames, which becomes a key frame."""
        at = int(np.flatnonzero(self.places == place)[0])
        steps = at if self.forward else at + 1
        return (
            replace(self, places=self.places[:at], costs=self.costs[:steps], open_end=self.forward),
            replace(self, places=self.places[at + 1 :], costs=self.costs[at + 1 :]),
        )

    def gains(self, loss: Floats, objects: Floats) -> Floats:
        """How much IoU the correction of each frame is expected to bring, (m,).

        `loss`, `objects`: (N,), the IoU that all masks of a frame lack now, and their number.
        The costs say which share of the gap's loss is repaired, for what they say of its size is
        less sure than the scores are; what the entry costs, no correction repairs. Of that share a
        part is repaired (`_REPAIRED`).
        """
        now, masks = loss[self.places], objects[self.places]
        excess = np.maximum(now + masks * math.expm1(-self.entry), 0.0)
        expected = masks * -np.expm1(-self._way())
        if self.forward:  # what is in front of a corrected frame stays as it is
            now_all, excess_all, expected_all = map(_behind, (now, excess, expected))
            wrong = _behind(masks) - masks - self._ahead(masks)[1:-1]
        else:
            now_all, excess_all, expected_all = now.sum(), excess.sum(), expected.sum()
            wrong = masks.sum() - self._kept(masks)
        share = 1.0 - wrong / np.maximum(expected_all, _LEAST_LOSS)
        return np.asarray(np.clip(_REPAIRED * share * excess_all, now, now_all))

    def _ahead(self, masks: Floats) -> Floats:
        """The IoU of the masks behind each frame 0 to m + 1 to the gap's end, (m + 2,).

        Of a pass that starts there with a mask that is right.
        """
        count = len(masks)
        ahead = np.zeros(count + 2)
        share = np.exp(-self.costs)
        for i in range(count - 1, -1, -1):
            ahead[i] = (masks[i] + ahead[i + 1]) * share[i]
        return ahead

    def _kept(self, masks: Floats) -> Floats:
        """The IoU of all masks together after the correction of each frame, (m,)."""
        count = len(masks)
        costs = np.append(self.costs, 0.0) if self.open_end else self.costs
        way = np.concatenate([[0.0], np.cumsum(costs)])
        share = np.exp(-costs)
        ahead, back = self._ahead(masks), np.zeros(count + 2)
        for i in range(2, count + 2):
            back[i] = (masks[i - 2] + back[i - 1]) * share[i - 1]

        def between(low: NDArray[np.intp], high: NDArray[np.intp]) -> Floats:
            middle = np.searchsorted(way, (way[low] + way[high]) / 2, side="right") - 1
            middle = np.clip(middle, low, high - 1)  # the last one that the pass from `low` does
            forward = ahead[low] - np.exp(way[low] - way[middle]) * ahead[middle]
            backward = back[high] - np.exp(way[middle + 1] - way[high]) * back[middle + 1]
            return np.asarray(forward + backward)

        frames = np.arange(1, count + 1)
        before = between(np.zeros_like(frames), frames)
        after = ahead[frames] if self.open_end else between(frames, np.full_like(frames, count + 1))
        return np.asarray(before + masks + after)


def _behind(values: Floats) -> Floats:
    """The sum of each value and all behind it."""
    return np.cumsum(values[::-1])[::-1]


def entry_cost(gaps: Sequence[tuple[Floats, bool]]) -> float:
    """What a pass costs beside its steps: the median close to the key frames, if that is little.

    `gaps`: of each, one at least, the scores of its frames in order and whether its end is open.
    """
    near = [scores[_steps_away(len(scores), open_end) <= _BESIDE] for scores, open_end in gaps]
    return min(float(np.median(_fallen(np.concatenate(near)))), _LARGEST_ENTRY)


def one_way(scores: Floats, entry: float) -> Decay:
    """Of a single pass: `scores` (m,) from the frame beside the key frame on. Steps: m."""
    fallen = _rising(_fallen(scores, entry))
    before = np.concatenate([[0.0], fallen])
    return Decay(np.diff(before), np.exp(-before[:-1]))


def both_ways(scores: Floats, entry: float) -> Decay:
    """Between two key frames: `scores` (m,) of frames 1 to m. Steps: m + 1.

    Masks decay from both ends towards a worst place, which is where that fits the scores best.
    """
    fallen = _fallen(scores, entry)
    misfit = _misfits(fallen) + _misfits(fallen[::-1])[::-1]
    worst = int(np.argmin(np.round(misfit, 9)))  # the first of equals, whatever the rounding
    ahead = np.concatenate([[0.0], _rising(fallen[:worst])])
    back = np.concatenate([[0.0], _rising(fallen[worst:][::-1])])[::-1]
    middle = abs(back[0] - ahead[-1])
    costs = np.concatenate([np.diff(ahead), [middle], -np.diff(back)])
    lost = np.concatenate([ahead[:-1], [max(ahead[-1], back[0])], back[1:]])
    return Decay(costs, np.exp(-lost))


def usual_cost(gaps: Sequence[Decay]) -> float:
    """The cost of the mean share that a step keeps, by what can be believed; one gap at least."""
    trust = np.concatenate([each.left for each in gaps]) ** _TRUST
    kept = np.exp(-np.concatenate([each.costs for each in gaps]))
    return float(-np.log(trust @ kept / trust.sum()))


def _steps_away(frames: int, open_end: bool) -> NDArray[np.intp]:
    """How many steps each frame of a gap is from the key frame that reaches it first, (frames,)."""
    steps = np.arange(1, frames + 1)
    return steps if open_end else np.minimum(steps, steps[::-1])


def _fallen(scores: Floats, entry: float = 0.0) -> Floats:
    """The sum of the costs of steps that leads to each score, behind such an entry."""
    return np.maximum(-np.log1p(-np.clip(scores, 0.0, _MOST)) - entry, 0.0)


def _rising(values: Floats) -> Floats:
    """The nearest (least squares) values that never fall."""
    levels: list[tuple[float, int]] = []
    for levels, _ in _pooling(values):  # noqa: B007 - those after the last value count
        pass
    return np.array([total / count for total, count in levels for _ in range(count)])


def _misfits(values: Floats) -> Floats:
    """Squared distance of the first 0, 1, ... m values from what never falls, (m + 1,)."""
    squares = np.concatenate([[0.0], np.cumsum(values**2)])
    return np.asarray(squares - np.array([0.0, *(fitted for _, fitted in _pooling(values))]))


def _pooling(values: Floats) -> Iterator[tuple[list[tuple[float, int]], float]]:
    """After each value: (total, count) of neighbours that have one level, and sum total²/count.

    Neighbours that contradict an order are pooled (Ayer et al., "An Empirical Distribution Function
    for Sampling with Incomplete Information", 1955). The list is always the same one.
    """
    pooled: list[tuple[float, int]] = []
    fitted = 0.0
    for value in values.tolist():
        total, count = value, 1
        while pooled and pooled[-1][0] * count >= total * pooled[-1][1]:
            other, others = pooled.pop()
            fitted -= other * other / others
            total, count = total + other, count + others
        pooled.append((total, count))
        fitted += total * total / count
        yield pooled, fitted
