"""One attempt at one span: what its passes share."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from jobs.spans import SpanPlan
from tracker.protocol import LabelMap, Propagator
from worker.attempts import Attempt
from worker.judge import Judge
from worker.pipeline import SpanFrames, StageClock
from worker.refine import Refiner
from worker.seeds import Numbering, additions
from worker.spanfile import SpanFile, header_line
from worker.sweep import Sweep


@dataclass(frozen=True, slots=True, kw_only=True)
class SpanJob:
    """The span, its frames and seeds, and whom to ask and tell.

    `refiner`: looks at doubtful frames of a fused span again, where the run asks for it.
    """

    span: SpanPlan
    frames: SpanFrames
    attempt: Attempt
    clock: StageClock
    numbering: Numbering
    make: Callable[[], Propagator]
    on_progress: Callable[[int, int], None]
    should_stop: Callable[[], bool]
    refiner: Refiner | None = None

    def judge(self) -> Judge:
        """A judge of the span's masks, who knows nothing yet."""
        return Judge(self.numbering, self.frames.frames, self.frames.read)

    def forward_order(self) -> tuple[int, Sequence[int]]:
        """Where the forward pass starts, and the frames that it visits.

        It goes on to the next key frame, to learn which object is which.
        """
        start = self.span.anchors[0]
        end = max(self.span.stop, self.span.anchors[-1])
        return start, [frame for frame in self.frames.frames if start < frame <= end]

    def backward_order(self) -> tuple[int, Sequence[int]]:
        """Where the backward pass starts, and the frames that it visits."""
        start = self.span.anchors[-1]
        frames = [frame for frame in self.frames.frames if self.span.start <= frame < start]
        return start, frames[::-1]

    def computed(self, frame: int) -> bool:
        """Whether `frame` gets a record."""
        return self.span.start <= frame <= self.span.stop

    def restore_numbers(self, file: SpanFile, start: int) -> None:
        """Take the numbers that are known already, and number the first anchor's seeds."""
        for anchor, numbers in file.numbers.items():
            self.numbering.restore(anchor, numbers, file.met.get(anchor, {}))
        if start not in self.numbering.numbers:
            self.numbering.meet(start)

    def visited(self, file: SpanFile, order: Sequence[int]) -> int:
        """How many frames of `order` are in `file`, in one go from its beginning."""
        for count, frame in enumerate(order):
            if frame not in (file if self.computed(frame) else file.numbers):
                return count
        return len(order)

    def sweep(self, start: int, order: Sequence[int], file: SpanFile, *, forward: bool) -> Sweep:
        """A pass whose records are in `file`."""
        return Sweep(
            make=self.make,
            images=self.frames,
            clock=self.clock,
            start=start,
            order=order,
            anchors=frozenset(self.span.anchors),
            cross=self._cross_forward if forward else self._cross_backward,
            restart=lambda frame: self.labels_at(file, frame),
            should_stop=self.should_stop,
        )

    def labels_at(self, file: SpanFile, frame: int) -> LabelMap:
        """All objects on `frame`: drawn ones where it is an anchor, and what `file` has."""
        shape = self.frames.height, self.frames.width
        if frame not in self.numbering.numbers:
            return file.read(frame).labels(*shape)
        drawn = self.numbering.drawn(frame)
        if frame in file:
            added = file.read(frame).labels(*shape)
            np.copyto(drawn, added, where=drawn == 0)
        return drawn

    def without_drawn(self, frame: int, labels: LabelMap) -> LabelMap:
        """`labels` without the objects that a human drew on `frame`."""
        numbers = self.numbering.numbers.get(frame)
        return labels if numbers is None else additions(labels, numbers)

    def header(self) -> bytes:
        """The first line of a file: the span, and all numbers known now."""
        span = self.span
        facts = {
            "span": span.ordinal,
            "start": span.start,
            "stop": span.stop,
            "direction": span.direction,
        }
        return header_line(facts, self.numbering.numbers)

    def report(self, done: int, of: int) -> None:
        """Tell how far the attempt is, `done` of `of` visits, in frames."""
        total = self.span.frames_total
        self.on_progress(total * done // of if of else total, total)

    def _cross_forward(self, frame: int, predicted: LabelMap) -> LabelMap:
        self.numbering.meet(frame, predicted)
        return self._cross_backward(frame, predicted)

    def _cross_backward(self, frame: int, predicted: LabelMap) -> LabelMap:
        labels = self.numbering.drawn(frame)
        carried = additions(predicted, self.numbering.numbers[frame])
        np.copyto(labels, carried, where=labels == 0)
        return labels
