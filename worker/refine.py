"""Frames of a fused span on which an object is in doubt are looked at again by a segmenter.

What each pass carried to the frame is a prompt of its own: its mask and the box round it. An answer
decides only about disputed pixels, which one pass gives to the object and the other does not. Where
both answers agree better than both passes did, two looks from two sides found the same thing, and
they take the passes' place. What only one pass has seen stays as it is: nothing can agree with it.
Passes never go on from what was refined, so that nothing of it spreads to their later frames.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from tracker.engines import Power
from tracker.protocol import Image, LabelMap, Step
from tracker.segmenters.protocol import Mask, Segmenter

FLAGGED = 0.5  # doubt of a frame from which on an object is looked at again


@dataclass(frozen=True, slots=True, eq=False)
class Decision:
    """What the passes together say of a frame.

    `agreement`, `doubt`: float32 (N,), entry i for object i + 1: the IoU of the passes, and what
    this frame alone gives to doubt (`tracker.divergence.doubt`). `refined`: the objects whose masks
    come from the segmenter.
    """

    step: Step
    agreement: NDArray[np.float32]
    doubt: NDArray[np.float32]
    refined: tuple[int, ...] = ()


Decide = Callable[[Step, Step], Decision]
"""Fuses a forward and a backward step of a frame, and doubts the result."""


class Refiner:
    """Looks at doubtful objects again. It keeps nothing from frame to frame.

    So what it says of a frame depends on its arguments and that frame's image alone, whoever
    computes it.
    """

    def __init__(
        self, make: Callable[[], Segmenter], read: Callable[[int], Image], threads: int = 0
    ) -> None:
        """`make` is called when the first object is in doubt; `read` gives a frame's image.

        `threads`: of the CPU, for the segmenter; 0 for all.
        """
        self._make = make
        self._read = read
        self._power = Power(threads=threads)
        self._segmenter: Segmenter | None = None

    def better(
        self, frame: int, forward: Step, backward: Step, decided: Decision, decide: Decide
    ) -> Decision:
        """`decided`, or what it becomes with the masks of doubtful objects segmented anew.

        `decided`: what `decide(forward, backward)` gave. Objects are tried in turn, each beside
        those that were taken before. One is taken if its passes then agree more and its doubt
        falls, and that of no other object rises.
        """
        flagged = np.flatnonzero((decided.doubt >= FLAGGED) & (decided.agreement < 1)) + 1
        doubtful = [n for n in flagged.tolist() if _seen(n, forward) and _seen(n, backward)]
        if not doubtful:
            return decided
        from tracker.power import working  # here: it brings PyTorch, which takes seconds

        with working(self._power):
            self._segmenter = self._segmenter or self._make()
            self._segmenter.set_image(self._read(frame))
            for number in doubtful:
                one, other = forward.labels == number, backward.labels == number
                ahead = _looked(self._segmenter, number, forward, one & other, one | other)
                back = _looked(self._segmenter, number, backward, one & other, one | other)
                if ahead is None or back is None:
                    continue
                found = decide(ahead, back)
                if _gains(number, found, decided):
                    forward, backward = ahead, back
                    decided = replace(found, refined=(*decided.refined, number))
        return decided


def _looked(segmenter: Segmenter, number: int, step: Step, core: Mask, reach: Mask) -> Step | None:
    """The step with the object's mask segmented anew; None where nothing was found.

    `core`, `reach`: bool (H, W), the object's pixels in both passes, and in either: what is in the
    core stays, and what lies out of reach is not taken. Pixels of other objects stay theirs.
    """
    mask = step.labels == number
    answer = segmenter.predict(box=_box(mask), mask=mask).mask
    found = (core | (answer & reach)) & (mask | (step.labels == 0))
    if not found.any():
        return None
    labels: LabelMap = step.labels.copy()
    labels[mask] = 0
    labels[found] = number
    return Step(labels, step.confidence)


def _seen(number: int, step: Step) -> bool:
    return bool((step.labels == number).any())


def _gains(number: int, found: Decision, before: Decision) -> bool:
    """Whether an object gains by a change, and no other one loses."""
    index = number - 1
    rises = found.doubt > before.doubt
    return bool(
        found.agreement[index] > before.agreement[index]
        and found.doubt[index] < before.doubt[index]
        and not rises.any()
    )


def _box(mask: Mask) -> NDArray[np.float32]:
    """The box round a mask's pixels, in the segmenter's coordinates: float32 (4,)."""
    rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
    corners = [columns[0] - 0.5, rows[0] - 0.5, columns[-1] + 0.5, rows[-1] + 0.5]
    return np.array(corners, dtype=np.float32)
