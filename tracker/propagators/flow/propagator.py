"""The propagator itself: look where objects may be, match, warp, refine, say how sure."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from tracker.propagators.flow.colours import Colours, learn, likeness
from tracker.propagators.flow.matching import Flow, flow
from tracker.propagators.flow.refine import refine
from tracker.propagators.flow.surroundings import surroundings
from tracker.propagators.flow.warp import warp
from tracker.protocol import Image, LabelMap, Step

_GOOD_GAP = 1.5  # pixels by which a sound match may miss its start
_JUDGED = 300_000  # pixels that are enough to judge colours by
_ABSENT = 0.5  # how sure it is that an object without a mask is really absent
_LEFT = 0.9  # the same where its last pixels were at the edge of the frame


class FlowPropagator:
    """Carries masks by optical flow; see `tracker.protocol.Propagator`.

    Its state is the key frame given to `start` and the last frame with its label map, and nothing
    else: that is what makes it restartable to the bit. An object that has lost its last pixel stays
    absent until `start` or `remember` gives it anew.
    """

    replays = False

    def __init__(self) -> None:
        self._count = 0
        self._known: dict[int, Colours] = {}
        self._last: tuple[Image, LabelMap] | None = None

    def start(self, image: Image, labels: LabelMap) -> None:
        """Forget everything and begin at a key frame (`labels` may be all background)."""
        self._count = 0
        self._known = learn(image, labels)
        self.remember(image, labels)

    def step(self, image: Image) -> Step:
        """Carry the masks to `image`, the neighbour of the frame given last."""
        if self._last is None:
            raise RuntimeError("step() before start()")
        last, before = self._last
        labels = np.zeros_like(before)
        confidence = np.full(self._count, _ABSENT, dtype=np.float32)
        if before.any():
            part = surroundings(before)
            motion = self._motion(last, image, part)
            moved = warp(before[part], motion.x, motion.y)
            labels[part] = refine(moved, image[part], motion.gap, self._known)
            confidence = self._confidence(before, labels[part], image[part], motion.gap)
        self._last = image, labels.copy()
        return Step(labels, confidence)

    def remember(self, image: Image, labels: LabelMap) -> None:
        """Take `labels` as the state at `image`."""
        self._count = max(self._count, int(labels.max(initial=0)))
        self._last = image, labels.copy()

    def _motion(self, last: Image, image: Image, part: tuple[slice, slice]) -> Flow:
        """Where the pixels of a part of `image` were in that part of `last`."""
        return flow(last[part], image[part])

    def _confidence(
        self,
        before: LabelMap,
        labels: LabelMap,
        image: Image,
        gap: NDArray[np.float32],
    ) -> NDArray[np.float32]:
        """How sure each object is: `before` is the whole last frame, the rest a part of this one.

        Of a present one: the share of its pixels whose match is the same both ways (which sees
        what goes wrong in this step) times its likeness to the key frame (which sees what has
        gone wrong step by step).
        """
        entries = self._count + 1
        flat = labels.ravel()
        area = np.bincount(flat, minlength=entries)
        good = np.bincount(flat, weights=(gap < _GOOD_GAP).ravel(), minlength=entries)
        edge = np.concatenate([before[0], before[-1], before[:, 0], before[:, -1]])
        at_edge = np.bincount(edge, minlength=entries) > 0
        absent = np.where(at_edge, _LEFT, _ABSENT)
        sure = np.where(area > 0, good / np.maximum(area, 1), absent)[1:]
        thin = max(1, round((labels.size / _JUDGED) ** 0.5))  # large pictures: every n-th pixel
        sure *= likeness(image[::thin, ::thin], labels[::thin, ::thin], self._known, self._count)
        return sure.astype(np.float32)
