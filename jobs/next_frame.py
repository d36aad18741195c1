"""Which frame a person should correct next: the one whose correction is expected to repair most.

Two things are known of every computed frame: how much of its masks is expected to be wrong (its
divergence), and how far it is from a key frame. From both follows how masks of this very job decay
with the distance from a key frame. A corrected frame becomes a key frame, from which passes run
both ways to its neighbours: each frame between them is expected to be wrong no more than frames at
such a distance are elsewhere. What it is expected to be wrong now, beyond that, is repaired.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from types import MappingProxyType

import numpy as np
from numpy.typing import NDArray

from jobs.layer_views import WorstView
from jobs.views import NextFrameView

Floats = NDArray[np.float64]

WORDS = MappingProxyType(
    {
        "unsure": "the engine is unsure of it",
        "strayed": "it was followed for long with doubts",
        "distance": "it is far from a key frame",
        "faded": "it hardly differs from its surroundings any more",
        "unlike": "its colours are not those of the key frame",
        "foreign": "the mask holds colours of the surroundings",
        "resized": "its size is not that of the key frame",
        "split": "the mask is in pieces",
        "bent": "its shape jumps",
        "border": "it touches the border of the picture",
        "gone": "it has vanished",
        "apart": "the two passes disagree",
        "missed": "the pass did not arrive at the next key frame's mask",
    }
)
"""What speaks against a mask, by the names of `tracker.signs.Sign` in small letters."""

_REACH = 300  # frames on either side that a correction is thought to repair, at most
_LEAST = 0.05  # frames: less is not worth a suggestion


@dataclass(frozen=True, slots=True)
class FrameDoubt:
    """One computed frame. `loss`: the sum of the scores of its `objects` objects, gone ones too.

    `worst`: number of the object with the highest score, `label` its class, `score` and `why` of it
    as REPORT.json has them.
    """

    frame: int
    objects: int
    loss: float
    worst: int
    label: str
    score: float
    why: str


def joined(one: FrameDoubt, other: FrameDoubt) -> FrameDoubt:
    """Two parts of one frame's objects together."""
    worst = other if other.score > one.score else one
    return replace(worst, objects=one.objects + other.objects, loss=one.loss + other.loss)


def next_frame(run: int, frames: Sequence[FrameDoubt], keys: Sequence[int]) -> NextFrameView | None:
    """The frame to correct next; None where nothing was computed or nothing is expected to gain.

    `frames`: ascending; `keys`: the key frames, ascending. Costs frames times `_REACH` at most.
    """
    if not frames or not keys:
        return None
    gains = expected_repair(frames, keys)
    best = int(np.argmax(gains))
    if gains[best] < _LEAST:
        return None
    found = frames[best]
    return NextFrameView(
        run=run,
        frame=found.frame,
        object=found.worst,
        label=found.label,
        score=round(found.score, 4),
        why=found.why,
        reason=WORDS.get(found.why, ""),
        repairs=round(float(gains[best]), 2),
        iou_gain=round(float(gains[best]) / sum(each.objects for each in frames), 4),
    )


def worst_frames(
    frames: Sequence[FrameDoubt], keys: Sequence[int], most: int
) -> tuple[WorstView, ...]:
    """The frames to correct one after the other, at most so many; the first is `next_frame`.

    Each is chosen as if those before it were corrected already, so that neighbours, which one
    correction repairs together, are not all listed. Costs `most` times what `next_frame` does, at
    most.
    """
    if not frames or not keys:
        return ()
    known = _Known.of(frames, keys)
    loss, gap = known.loss.copy(), _gaps(known.numbers, keys)
    gains = _gains(loss, known.objects, gap, known.decay)
    found: list[WorstView] = []
    while len(found) < most:
        best = int(np.argmax(gains))
        if gains[best] < _LEAST:
            break
        told = frames[best]
        found.append(
            WorstView(
                frame=told.frame,
                object=told.worst,
                label=told.label,
                score=round(told.score, 4),
                why=told.why,
                reason=WORDS.get(told.why, ""),
                repairs=round(float(gains[best]), 2),
            )
        )
        # A new key frame parts its gap in two; in no other one anything changes.
        start, stop = np.searchsorted(gap, (gap[best], gap[best] + 1)).tolist()
        gap[best:] += 1
        gap[best + 1 :] += 1
        gains[best] = loss[best] = 0.0
        for part in (slice(start, best), slice(best + 1, stop)):
            away = np.abs(np.arange(part.start, part.stop) - best)
            left = known.decay[np.minimum(away, len(known.decay) - 1)] * known.objects[part]
            loss[part] = np.where(away <= _REACH, np.minimum(loss[part], left), loss[part])
            gains[part] = _gains(loss[part], known.objects[part], gap[part], known.decay)
    return tuple(found)


def expected_repair(frames: Sequence[FrameDoubt], keys: Sequence[int]) -> Floats:
    """For each frame how much IoU its correction is expected to bring, summed over all masks."""
    known = _Known.of(frames, keys)
    return _gains(known.loss, known.objects, _gaps(known.numbers, keys), known.decay)


@dataclass(frozen=True, slots=True)
class _Known:
    """Arrays (N,) over frames, and the expected loss of a mask by distance from a key frame."""

    numbers: NDArray[np.int64]
    loss: Floats
    objects: Floats
    decay: Floats

    @staticmethod
    def of(frames: Sequence[FrameDoubt], keys: Sequence[int]) -> _Known:
        numbers = np.array([each.frame for each in frames])
        step = int(np.diff(numbers).min()) if len(numbers) > 1 else 1
        loss = np.array([each.loss for each in frames])
        objects = np.array([each.objects for each in frames], dtype=np.float64)
        return _Known(
            numbers, loss, objects, _decay(_distances(numbers, keys, step), loss, objects)
        )


def _gaps(numbers: NDArray[np.int64], keys: Sequence[int]) -> NDArray[np.int64]:
    """Between which key frames each frame lies."""
    return np.searchsorted(np.array(keys), numbers).astype(np.int64)


def _gains(loss: Floats, objects: Floats, gap: NDArray[np.int64], decay: Floats) -> Floats:
    """For each frame what its correction repairs on itself and as far as the next key frames."""
    gains = loss.copy()
    for away in range(1, min(_REACH, len(loss) - 1) + 1):
        left = decay[min(away, len(decay) - 1)]
        same = gap[away:] == gap[:-away]
        if not same.any():
            break
        repaired = np.maximum(loss - left * objects, 0.0)
        gains[:-away] += np.where(same, repaired[away:], 0.0)
        gains[away:] += np.where(same, repaired[:-away], 0.0)
    return gains


def _distances(numbers: NDArray[np.int64], keys: Sequence[int], step: int) -> NDArray[np.int64]:
    """To the nearest key frame, in frames of the job."""
    ends = np.array(keys)
    behind = np.minimum(np.searchsorted(ends, numbers), len(ends) - 1)
    before = np.maximum(behind - 1, 0)
    away = np.minimum(np.abs(ends[behind] - numbers), np.abs(numbers - ends[before]))
    return np.asarray(away // step)


def _decay(distances: NDArray[np.int64], loss: Floats, objects: Floats) -> Floats:
    """The expected loss of one mask at each distance from a key frame, which never falls.

    Least squares under that condition: neighbours that contradict it are pooled.
    """
    most = int(distances.max())
    weight = np.bincount(distances, weights=objects, minlength=most + 1)
    total = np.bincount(distances, weights=loss, minlength=most + 1)
    blocks: list[tuple[float, float, int]] = []  # loss, masks, distances
    for value, count in zip(total.tolist(), weight.tolist(), strict=True):
        block = (value, count, 1)
        while blocks and blocks[-1][0] * block[1] >= block[0] * blocks[-1][1]:
            last = blocks.pop()
            block = (last[0] + block[0], last[1] + block[1], last[2] + block[2])
        blocks.append(block)
    return np.array([v / c if c else 0.0 for v, c, length in blocks for _ in range(length)])
