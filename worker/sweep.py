"""One pass of a propagator over a span, in either direction, across anchors, restartable."""

from __future__ import annotations

from collections.abc import Callable, Generator, Sequence
from dataclasses import dataclass

from tracker.protocol import Image, LabelMap, Propagator, Step
from worker.pipeline import SpanFrames, StageClock

Crossing = Callable[[int, LabelMap], LabelMap]
"""Given an anchor and what the pass predicts there: the label map to go on with."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Sweep:
    """What a pass needs. `order`: the frames to visit in turn, `start` not among them.

    `restart(frame)` is the label map with which the pass went on at a visited frame (or began, at
    `start`); `cross` is asked at each frame of `anchors`. `should_stop` is asked while an
    engine that remembers all frames is shown those that are done already.
    """

    make: Callable[[], Propagator]
    images: SpanFrames
    clock: StageClock
    start: int
    order: Sequence[int]
    anchors: frozenset[int]
    cross: Crossing
    restart: Callable[[int], LabelMap]
    should_stop: Callable[[], bool]

    def run(self, done: int) -> Generator[tuple[int, Image, Step], None, None]:
        """Go on after the first `done` frames of `order`; yields each further one as it was found.

        That is its number, its image and its step.

        Ends early when it is told to stop before it could go on.

        At an anchor the step's labels are those of the crossing. The propagator is started anew
        there, with all objects that it carries: only so can a successor that begins at the last
        anchor reach the very same state.
        """
        visited, rest = self.order[:done], self.order[done:]
        if not rest:
            return
        propagator = self.make()
        base = next((frame for frame in reversed(visited) if frame in self.anchors), self.start)
        known = visited[visited.index(base) + 1 :] if base in visited else visited
        if not propagator.replays:
            known = known[-1:]
        images = self.images.ahead([base, *known, *rest])
        try:
            image = next(images)
            with self.clock.busy("track"):
                propagator.start(image, self.restart(base))
            for frame in known:
                if propagator.replays and self.should_stop():
                    return
                image = next(images)
                with self.clock.busy("track"):
                    propagator.remember(image, self.restart(frame))
            for frame, image in zip(rest, images, strict=True):
                with self.clock.busy("track"):
                    step = propagator.step(image)
                    if frame in self.anchors:
                        step = Step(self.cross(frame, step.labels), step.confidence)
                        propagator.start(image, step.labels)
                yield frame, image, step
        finally:
            images.close()
