"""Where a pass stops for an object, since its divergence has reached the limit that a run sets.

The masks stay in the span's file, so that whoever goes on from it does not have to know; they are
left out of the result. A pass stops for one object and goes on with the others: what is good of
them is worth having, and an object that is missing is seen at once.
"""

from __future__ import annotations

from bisect import bisect_left

from jobs.spans import Passes, SpanPlan
from worker.spanfile import SpanFile


class Stops:
    """The frames of one span on which objects are left out.

    A single pass stops at the first frame, in its own order, that reaches the limit, and begins
    again at the next key frame. Of two fused passes either one stops so: what lies between the
    first and the last such frame of a gap between key frames is left out.
    """

    def __init__(self, span: SpanPlan, file: SpanFile, limit: float) -> None:
        """`file`: the complete file of `span`; `limit`: 0 for none."""
        self._direction = span.direction
        self._shown: dict[int, list[int]] = {}  # by object: the key frames that show it, ascending
        for anchor in sorted(file.numbers):
            for number in file.numbers[anchor]:
                self._shown.setdefault(number, []).append(anchor)
        self._bad: dict[tuple[int, int], tuple[int, int]] = {}  # object, gap: first, last frame
        for frame in sorted(file.frames) if limit > 0 else ():
            record = file.read(frame)
            scores = [(each.number, each.score) for each in record.masks]
            scores += [(each.number, each.score) for each in record.gone]
            for number, score in scores:
                if score >= limit:
                    gap = number, bisect_left(self._shown[number], frame)
                    self._bad[gap] = self._bad.get(gap, (frame, frame))[0], frame

    def holds(self, number: int, frame: int) -> bool:
        """Whether the mask of an object (the span's number) is left out on a frame."""
        shown = self._shown[number]
        behind = bisect_left(shown, frame)  # key frames before this one
        bad = self._bad.get((number, behind))
        if bad is None:
            return False
        both = self._direction is Passes.BOTH
        backward = self._direction is Passes.BACKWARD or (both and behind == 0)
        forward = self._direction is Passes.FORWARD or (both and behind == len(shown))
        return (backward or bad[0] <= frame) and (forward or frame <= bad[1])
