"""What a run makes of a clip's passes: the masks of every frame and the signs against them.

Puts `bench.passes` together as the worker does (`worker.one_pass`, `worker.two_passes`).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from bench.measures import region
from bench.passes import Clip, Engine, Rounds, Walk
from tracker import divergence
from tracker.divergence import Floats
from tracker.fusion import fuse
from tracker.looks import Look, looks
from tracker.protocol import LabelMap, Step
from tracker.signs import Kind

NOTHING = np.zeros(0, dtype=np.float32)


@dataclass(frozen=True, slots=True, eq=False)
class Judged:
    """One filled frame. `signs`: (N, len(Sign)), entry i for object i + 1; `known`: (N,), whether
    its pass was told of the object.
    """

    frame: int
    kind: Kind
    labels: LabelMap
    signs: Floats
    known: NDArray[np.bool_]

    def losses(self, clip: Clip) -> Iterator[tuple[int, float]]:
        """1 - IoU with the human's mask of every known object; none where nobody drew any."""
        if self.frame in clip.drawn:
            drawn = clip.labels(self.frame)
            for number in (np.flatnonzero(self.known) + 1).tolist():
                yield number, 1.0 - region(self.labels == number, drawn == number)


def judge(clip: Clip, engine: Engine, keys: Sequence[int]) -> list[Judged]:
    """All frames of a run with human masks on `keys` (ascending), as they are filled."""
    gaps = pairwise([None, *keys, None])
    rounds = (tuple(keys),)
    return [each for low, high in gaps for each in judge_gap(clip, engine, rounds, low, high)]


def judge_gap(
    clip: Clip, engine: Engine, rounds: Rounds, low: int | None, high: int | None
) -> list[Judged]:
    """What the last run of `rounds` makes of the frames between two key frames.

    None: the clip's beginning, or its end.
    """
    if low is None:
        assert high is not None
        return [*_alone(clip, engine.walk(clip, rounds, high, 0))][::-1]
    if high is None:
        return [*_alone(clip, engine.walk(clip, rounds, low, clip.length - 1))]
    if high - low < 2:
        return []
    ahead, back = (engine.walk(clip, rounds, *ends) for ends in ((low, high), (high, low)))
    return [*_fused(clip, ahead, back)][::-1]


def _alone(clip: Clip, walk: Walk) -> Iterator[Judged]:
    previous = clip.labels(walk.start)
    known = _known(previous)
    shown = _looks(clip, walk.start)
    strayed, gone = _strayed(clip, walk), NOTHING
    for frame in walk.order:
        step = walk.steps[frame]
        unsure = divergence.doubt(step, previous=previous)
        gone = divergence.gone(gone, unsure, step.labels, previous)
        signs = divergence.signs(
            clip.image(frame),
            step,
            previous,
            looks=shown,
            unsure=unsure,
            strayed=strayed[frame],
            gone=gone,
            distance=np.full(len(known), abs(frame - walk.start), dtype=np.float32),
        )
        yield Judged(frame, Kind.SINGLE, step.labels, signs, known)
        previous = step.labels


def _fused(clip: Clip, ahead: Walk, back: Walk) -> Iterator[Judged]:
    low, high = ahead.start, back.start
    previous = clip.labels(high)
    shown = {key: _looks(clip, key) for key in (low, high)}
    count = max(int(clip.labels(key).max()) for key in (low, high))
    in_forward, in_backward = (_known(clip.labels(key), count) for key in (low, high))
    strayed = _strayed(clip, ahead), _strayed(clip, back)
    met = ahead.steps[high].labels
    missed = [1 - region(met == n, previous == n) for n in range(1, count + 1)]
    gone = NOTHING
    for frame in back.order[: high - low - 1]:
        weight = (high - frame) / (high - low)
        step, agreement = fuse(
            ahead.steps[frame],
            back.steps[frame],
            weight_forward=weight,
            in_forward=in_forward,
            in_backward=in_backward,
        )
        unsure = divergence.doubt(step, previous=previous)
        gone = divergence.gone(gone, unsure, step.labels, previous)
        signs = divergence.signs(
            clip.image(frame),
            step,
            previous,
            looks=shown[low if 2 * frame <= low + high else high],
            unsure=unsure,
            strayed=divergence.between(strayed[0][frame], strayed[1][frame], weight, count),
            gone=gone,
            distance=np.full(count, min(frame - low, high - frame), dtype=np.float32),
            agreement=agreement,
            missed=np.where(in_forward & in_backward, missed, 0).astype(np.float32),
        )
        yield Judged(frame, Kind.FUSED, step.labels, signs, in_forward | in_backward)
        previous = step.labels


def _strayed(clip: Clip, walk: Walk) -> dict[int, Floats]:
    """How far a pass has strayed, frame by frame."""
    found: dict[int, Floats] = {}
    previous, so_far = clip.labels(walk.start), NOTHING
    for frame in walk.order:
        step: Step = walk.steps[frame]
        so_far = divergence.strayed(so_far, divergence.doubt(step, previous=previous))
        found[frame], previous = so_far, step.labels
    return found


def _looks(clip: Clip, key: int) -> dict[int, Look]:
    drawn = clip.labels(key)
    return looks(clip.image(key), drawn, range(1, int(drawn.max()) + 1))


def _known(labels: LabelMap, count: int | None = None) -> NDArray[np.bool_]:
    most = int(labels.max()) if count is None else count
    return np.bincount(labels.ravel(), minlength=most + 1)[1:] > 0
