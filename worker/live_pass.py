"""A pass of an engine through a live session, which people may change before and behind it.

The pass starts from a key frame and steps to its neighbours in turn. Its state is what stands on
record: of the key frame, and of the frame that it is at (`tracker.protocol`), so that any worker
can go on from there.
"""

from __future__ import annotations

import json
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from cvat_io.masks import encode_labels, paint
from cvat_io.model import Mask, MaskShape
from jobs.session_masks import IGNORED, Origin, Shown
from jobs.session_state import FrameState
from jobs.sheet import AUTO
from tracker import divergence
from tracker.divergence import Floats
from tracker.protocol import LabelMap, Propagator
from worker.judge import NOTHING, Judge, Verdict
from worker.live_desk import Pictures
from worker.seeds import paint_seeds


@dataclass(frozen=True, slots=True, kw_only=True)
class Score:
    """Divergence of one object on one frame, and what speaks most against its mask."""

    object: int
    label: str
    score: float
    why: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Made:
    """What the pass says of a frame, made to fit what a person says of it.

    `masks`: of the objects that it follows, those that are there. `cleared`: followed ones that the
    record shows and the pass does not. `scores`: also of objects that have vanished. `trail`: what
    a successor needs, as JSON. `model`: seconds of the engine.
    """

    frame: int
    masks: tuple[Shown, ...]
    cleared: tuple[int, ...]
    scores: tuple[Score, ...]
    trail: str
    model: float


def nothing_made(frame: int) -> Made:
    """Of a frame that the pass only comes by."""
    return Made(frame=frame, masks=(), cleared=(), scores=(), trail="", model=0.0)


class Pass:
    """One pass. `at`: the frame that it is at; `edited`: the session's, as of what it knows.

    `stored`: the version under which it stored that frame, 0 for one that it came by.
    """

    def __init__(self, propagator: Propagator, pictures: Pictures, *, forward: bool) -> None:
        self.forward = forward
        self.at = -1
        self.edited = -1
        self.stored = 0
        self._propagator = propagator
        self._pictures = pictures
        self._numbers: dict[int, int] = {}  # of objects, as the engine counts them
        self._like: dict[int, MaskShape] = {}  # what stands beside an object's masks
        self._drawn: dict[int, int] = {}  # versions of the key frame's masks
        self._removed: Mapping[int, int] = {}  # what a person took off the key frame, and when
        self._previous: LabelMap = np.zeros((0, 0), dtype=np.uint16)
        self._strayed: Floats = NOTHING
        self._gone: Floats = NOTHING
        self._made: tuple[LabelMap, Floats, Verdict] | None = None

    @property
    def replays(self) -> bool:
        """Whether `begin` needs all frames since the key frame."""
        return self._propagator.replays

    def begin(self, key: FrameState, between: Sequence[FrameState], edited: int) -> None:
        """Start from a key frame and go on where `between` ends.

        `between`: frames that the pass has been to, the last alone unless the engine `replays`.
        """
        self._numbers.clear()
        self._like.clear()
        self._strayed = self._gone = NOTHING
        self._start(key)
        for found in between:
            image, labels = self._pictures.read(found.frame), self._labels(found)
            self._propagator.remember(image, labels)
            self.at, self.stored, self._previous = found.frame, found.version, labels
            self._take_trail(found.trail)
        self.edited = edited

    def cross(self, key: FrameState) -> None:
        """Take a key frame on the way as the new start."""
        self._numbers.clear()
        self._like.clear()
        self._strayed = self._gone = NOTHING
        self._start(key)

    def step(self, found: FrameState, ahead: Sequence[int]) -> Made:
        """Go on to the neighbour `found`, of which that stands on record; see `take`.

        `ahead`: frames that are likely to be next, which are decoded meanwhile.
        """
        image = self._pictures.read(found.frame)
        self._pictures.want(ahead)
        began = time.perf_counter()
        step = self._propagator.step(image)
        model = time.perf_counter() - began
        unsure = divergence.doubt(step, previous=self._previous)
        strayed = divergence.strayed(self._strayed, unsure)
        verdict = self._judge.single(
            found.frame,
            image,
            step,
            self._previous,
            strayed=strayed,
            gone=self._gone,
            forward=self.forward,
        )
        labels = self._fitted(step.labels, found)
        if labels is not step.labels:
            # What stands on record is what a successor would go on from.
            self._propagator.remember(image, labels)
        self._made = labels, strayed, verdict
        return self._told(found, labels, strayed, verdict, model)

    def take(self, frame: int, stored: int) -> None:
        """Be at `frame`, which `step` went to, now that it stands on record."""
        assert self._made is not None
        self._previous, self._strayed, verdict = self._made
        self._gone = verdict.gone
        self.at, self.stored, self._made = frame, stored, None

    def _start(self, key: FrameState) -> None:
        image, labels = self._pictures.read(key.frame), self._labels(key)
        self._propagator.start(image, labels)
        self._drawn = {shown.number: shown.version for shown in key.masks}
        self._removed = key.gone
        self.at, self.stored, self._previous = key.frame, key.version, labels
        numbers = tuple(self._numbers[each.number] for each in key.masks if each.number != IGNORED)
        known = _Key(key.frame, numbers, labels)
        self._judge = Judge(known, self._pictures.frames, self._pictures.read)

    def _labels(self, found: FrameState) -> LabelMap:
        """A frame's label map as the engine counts objects; new ones get the next numbers."""
        shown = [each for each in found.masks if each.number != IGNORED]
        for each in shown:
            self._numbers.setdefault(each.number, len(self._numbers) + 1)
            self._like.setdefault(each.number, each.shape)
        numbers = [self._numbers[each.number] for each in shown]
        size = self._pictures.height, self._pictures.width
        return paint_seeds([each.shape for each in shown], numbers, *size)

    def _fitted(self, labels: LabelMap, found: FrameState) -> LabelMap:
        """A label map without what a person took off the frame, and beside what is not followed.

        A person's word that an object is not there ends where they draw it again later.
        """
        gone = [
            self._numbers[number]
            for number, version in found.gone.items()
            if number in self._numbers and version > self._drawn.get(number, 0)
        ]
        others = [
            shown.mask
            for shown in found.masks
            if shown.number != IGNORED
            and shown.number not in self._numbers
            and not self._is_over(shown)
        ]
        if not gone and not others:
            return labels
        fitted: LabelMap = labels.copy()
        if gone:
            fitted[np.isin(fitted, gone)] = 0
        for mask in others:
            paint(mask, fitted, 0)
        return fitted if (fitted != labels).any() else labels

    def _is_over(self, shown: Shown) -> bool:
        """Whether a mask was computed before a person took its object off the key frame."""
        return (
            shown.number not in self._numbers
            and shown.origin is not Origin.HUMAN
            and shown.version < self._removed.get(shown.number, 0)
        )

    def _told(
        self,
        found: FrameState,
        labels: LabelMap,
        strayed: Floats,
        verdict: Verdict,
        model: float,
    ) -> Made:
        masks: Mapping[int, Mask] = encode_labels(labels)
        shown, scores = [], []
        for number, k in self._numbers.items():
            like = self._like[number]
            if k in masks or (k <= len(verdict.gone) and verdict.gone[k - 1] > 0):
                score = round(float(verdict.scores[k - 1]), 4)
                why = verdict.reasons[k - 1].name.lower()
                scores.append(Score(object=number, label=like.label, score=score, why=why))
                if k in masks:
                    shape = replace(like, frame=found.frame, mask=masks[k], source=AUTO)
                    shown.append(Shown(number, shape, score, why))
        there = {each.number for each in shown}
        return Made(
            frame=found.frame,
            masks=tuple(shown),
            cleared=tuple(
                each.number
                for each in found.masks
                if (each.number in self._numbers and each.number not in there)
                or self._is_over(each)
            ),
            scores=tuple(scores),
            trail=self._trail(strayed, verdict.gone),
            model=model,
        )

    def _trail(self, strayed: Floats, gone: Floats) -> str:
        def by_object(values: Floats) -> dict[str, float]:
            return {
                str(number): round(float(values[k - 1]), 4)
                for number, k in self._numbers.items()
                if k <= len(values) and values[k - 1] > 0
            }

        return json.dumps({"strayed": by_object(strayed), "gone": by_object(gone)})

    def _take_trail(self, trail: str) -> None:
        data = json.loads(trail) if trail else {}
        self._strayed = self._from_trail(data.get("strayed", {}))
        self._gone = self._from_trail(data.get("gone", {}))

    def _from_trail(self, data: Mapping[str, float]) -> Floats:
        values = np.zeros(len(self._numbers), dtype=np.float32)
        for number, value in data.items():
            if int(number) in self._numbers:
                values[self._numbers[int(number)] - 1] = value
        return values


@dataclass(frozen=True, slots=True)
class _Key:
    """The key frame that a pass started from, as a judge knows it."""

    frame: int
    shown: tuple[int, ...]
    labels: LabelMap

    @property
    def numbers(self) -> Mapping[int, Sequence[int]]:
        return {self.frame: self.shown}

    @property
    def met(self) -> Mapping[int, Mapping[int, float]]:
        return {}

    def drawn(self, anchor: int) -> LabelMap:
        return self.labels
