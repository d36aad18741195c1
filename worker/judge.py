"""Judges the masks of a span, frame by frame: which key frame to hold them against, and the score.

What is carried from frame to frame (how far a pass has strayed, with what doubt an object vanished)
stands in the records, rounded, so that whoever goes on from a span's file gives the same scores.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from tracker import divergence
from tracker.divergence import Floats
from tracker.looks import Look, looks
from tracker.protocol import Image, LabelMap, Step
from tracker.signs import Kind, Sign

NOTHING: Floats = np.zeros(0, dtype=np.float32)


@dataclass(frozen=True, slots=True, eq=False)
class Verdict:
    """What is held of one frame, entry i for object i + 1, N objects.

    `scores`: divergence, float32 (N,) in [0, 1]. `reasons`: what speaks most against each mask.
    `gone`: float32 (N,), above 0 for objects that were there and have no mask, see
    `divergence.gone`.
    """

    scores: Floats
    reasons: Sequence[Sign]
    gone: Floats


class Drawn(Protocol):
    """What a judge has to know of key frames; `worker.seeds.Numbering` does."""

    @property
    def numbers(self) -> Mapping[int, Sequence[int]]:
        """Numbers of the objects that each key frame shows."""
        ...

    @property
    def met(self) -> Mapping[int, Mapping[int, float]]:
        """IoU with which a pass came to key frames, by object number."""
        ...

    def drawn(self, anchor: int) -> LabelMap:
        """The label map (H, W) of a key frame."""
        ...


class Judge:
    """Knows the key frames of a span, and how their objects look as soon as that matters."""

    def __init__(
        self, numbering: Drawn, frames: Sequence[int], read: Callable[[int], Image]
    ) -> None:
        """`frames`: of the span and its anchors, ascending; `read` gives the image of one."""
        self._numbering = numbering
        self._place = {frame: index for index, frame in enumerate(frames)}
        self._read = read
        self._seen: dict[int, tuple[int, Look | None]] = {}  # by object: key frame and its look

    def single(
        self,
        frame: int,
        image: Image,
        step: Step,
        previous: LabelMap,
        *,
        strayed: Floats,
        gone: Floats,
        forward: bool,
    ) -> Verdict:
        """Judge a frame that one pass has filled.

        `previous`: label map of the frame before in the pass, `gone`: its verdict's. `strayed`: as
        `worker.trail.Trail` has it for this frame.
        """
        keys = self._keys(frame, before=forward, behind=not forward)
        unsure = divergence.doubt(step, previous=previous)
        gone = self._gone(frame, divergence.gone(gone, unsure, step.labels, previous))
        found = divergence.signs(
            image,
            step,
            previous,
            looks=self._looks(keys),
            unsure=unsure,
            strayed=strayed,
            gone=gone,
            distance=self._distance(frame, keys, len(unsure)),
        )
        return _verdict(found, Kind.SINGLE, gone)

    def fused(
        self,
        frame: int,
        image: Image,
        step: Step,
        previous: LabelMap,
        *,
        agreement: Floats,
        strayed: Floats,
        gone: Floats,
    ) -> Verdict:
        """Judge a frame that two passes have filled; `strayed` is that of both together."""
        keys = self._keys(frame, before=True, behind=True)
        unsure = divergence.doubt(step, previous=previous)
        gone = self._gone(frame, divergence.gone(gone, unsure, step.labels, previous))
        found = divergence.signs(
            image,
            step,
            previous,
            looks=self._looks(keys),
            unsure=unsure,
            strayed=strayed,
            gone=gone,
            distance=self._distance(frame, keys, len(unsure)),
            agreement=agreement,
            missed=self._missed(frame, len(unsure)),
        )
        return _verdict(found, Kind.FUSED, gone)

    def _keys(self, frame: int, *, before: bool, behind: bool) -> dict[int, int]:
        """For every object the key frame nearest to `frame` that shows it, the earlier of two."""
        anchors = sorted(self._numbering.numbers)
        low, high = bisect_left(anchors, frame), bisect_right(anchors, frame)
        nearest: dict[int, int] = {}
        sides = [anchors[:low][::-1] if before else [], anchors[high:] if behind else []]
        for side in sides:
            shown: dict[int, int] = {}
            for anchor in side:
                for number in self._numbering.numbers[anchor]:
                    shown.setdefault(number, anchor)
            for number, anchor in shown.items():
                known = nearest.get(number)
                if known is None or abs(anchor - frame) < abs(known - frame):
                    nearest[number] = anchor
        return nearest

    def _distance(self, frame: int, keys: Mapping[int, int], count: int) -> Floats:
        found = np.zeros(count, dtype=np.float32)
        for number, key in keys.items():
            if number <= count:
                found[number - 1] = abs(self._place[frame] - self._place[key])
        return found

    def _looks(self, keys: Mapping[int, int]) -> dict[int, Look]:
        """How objects look on their key frames."""
        new: dict[int, list[int]] = {}
        for number, key in keys.items():
            if self._seen.get(number, (None, None))[0] != key:
                new.setdefault(key, []).append(number)
        for key, numbers in new.items():
            found = looks(self._read(key), self._numbering.drawn(key), numbers)
            self._seen.update({number: (key, found.get(number)) for number in numbers})
        known = {number: self._seen[number][1] for number in keys}
        return {number: look for number, look in known.items() if look is not None}

    def _gone(self, frame: int, found: Floats) -> Floats:
        """`found` without what a human drew on `frame`, which a step of a key frame may lack."""
        for number in self._numbering.numbers.get(frame, ()):
            if number <= len(found):
                found[number - 1] = 0.0
        return found

    def _missed(self, frame: int, count: int) -> Floats:
        """1 - IoU with which the forward pass came to each object's next key frame."""
        found = np.zeros(count, dtype=np.float32)
        for anchor in sorted(self._numbering.met, reverse=True):
            if anchor > frame:
                for number, iou in self._numbering.met[anchor].items():
                    if number <= count:
                        found[number - 1] = 1.0 - iou
        return found


def _verdict(found: Floats, kind: Kind, gone: Floats) -> Verdict:
    return Verdict(divergence.score(found, kind), divergence.reasons(found, kind), gone)
