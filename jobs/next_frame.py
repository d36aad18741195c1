"""Which frame a person should correct next: the one whose correction is expected to repair most.

The scores of a run (divergence) tell what each step from frame to frame costs a mask, see
`jobs.decay`. A corrected frame becomes a key frame, from which passes run both ways as far as the
neighbouring key frames (where only forward passes are made: to the next one). What their masks are
expected to lose on the way, by what those of the passes that there are were expected to lose, is
the share that stays wrong, and so is what masks beside key frames lack already. Of the rest
corrections repaired about half when that was measured, and their own frame in any case: that is
what is expected. So a correction is worth most where much is wrong and where masks hold long, and
less near a place at which they are lost from any side.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Sequence
from dataclasses import dataclass, replace
from types import MappingProxyType

import numpy as np
from numpy.typing import NDArray

from jobs.decay import Gap, both_ways, entry_cost, one_way, usual_cost
from jobs.layer_views import WorstView
from jobs.options import Direction
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


def next_frame(
    run: int,
    frames: Sequence[FrameDoubt],
    keys: Sequence[int],
    direction: Direction = Direction.BOTH,
) -> NextFrameView | None:
    """The frame to correct next; None where nothing was computed or nothing is expected to gain.

    `frames`: ascending, each of an object at least; `keys`: the key frames, ascending, none of
    which is among `frames`; `direction`: the passes that go out from them. Ten thousand frames take
    some hundredths of a second.
    """
    if not frames or not keys:
        return None
    gains = expected_repair(frames, keys, direction)
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
    frames: Sequence[FrameDoubt],
    keys: Sequence[int],
    most: int,
    direction: Direction = Direction.BOTH,
) -> tuple[WorstView, ...]:
    """The frames to correct one after the other, at most so many; the first is `next_frame`.

    Each is chosen as if those before it were corrected already, so that neighbours, which one
    correction repairs together, are not all listed.
    """
    if not frames or not keys:
        return ()
    loss, objects, gaps = _known(frames, keys, direction)
    gains = np.zeros(len(frames))
    for gap in gaps:
        gains[gap.places] = gap.gains(loss, objects)
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
        loss[best] = gains[best] = 0.0
        around = next(gap for gap in gaps if best in gap.places)
        gaps.remove(around)
        for part in around.split(best):
            places = part.places
            loss[places] = np.minimum(loss[places], part.lost() * objects[places])
            gains[places] = part.gains(loss, objects)
            gaps.append(part)
    return tuple(found)


def expected_repair(
    frames: Sequence[FrameDoubt], keys: Sequence[int], direction: Direction = Direction.BOTH
) -> Floats:
    """For each frame how much IoU its correction is expected to bring, summed over all masks.

    `frames`, `keys`, `direction`: as of `next_frame`. A correction brings its own frame's loss at
    least.
    """
    loss, objects, gaps = _known(frames, keys, direction)
    gains = np.zeros(len(frames))
    for gap in gaps:
        gains[gap.places] = gap.gains(loss, objects)
    return gains


def _known(
    frames: Sequence[FrameDoubt], keys: Sequence[int], direction: Direction
) -> tuple[Floats, Floats, list[Gap]]:
    """Loss and masks of each frame, (N,) both, and what is between the key frames."""
    before = np.array([bisect_left(keys, each.frame) for each in frames])
    loss = np.array([each.loss for each in frames])
    objects = np.array([each.objects for each in frames], dtype=np.float64)
    scores = loss / objects
    found = []
    for number in np.unique(before).tolist():
        places = np.flatnonzero(before == number)
        if number == 0:  # the pass runs backward
            places = places[::-1]
        forward = direction is Direction.FORWARD and number > 0
        found.append((places, forward or number in {0, len(keys)}, forward))
    entry = entry_cost([(scores[places], open_end) for places, open_end, _ in found])
    decays = [
        one_way(scores[places], entry) if open_end else both_ways(scores[places], entry)
        for places, open_end, _ in found
    ]
    usual = usual_cost(decays)
    gaps = [
        Gap(places, decay.believed(usual), entry, open_end, forward)
        for (places, open_end, forward), decay in zip(found, decays, strict=True)
    ]
    return loss, objects, gaps
