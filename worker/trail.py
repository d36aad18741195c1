"""How far a pass has strayed, followed frame by frame, also by whoever goes on from its file."""

from __future__ import annotations

from tracker import divergence
from tracker.divergence import Floats
from tracker.protocol import LabelMap, Step
from worker.judge import NOTHING
from worker.span_job import SpanJob
from worker.spanfile import SpanFile


class Trail:
    """Adds up what each frame gives to doubt. Frames are given in the order of the pass."""

    def __init__(self, job: SpanJob, done: SpanFile, last: int) -> None:
        """`last`: the frame that the pass goes on from, of which `done` tells."""
        self._numbering = job.numbering
        self.previous: LabelMap = job.labels_at(done, last)
        self._strayed: Floats = done.read(last).strayed if last in done else NOTHING

    def go_on(self, frame: int, step: Step) -> Floats:
        """How far each object's pass has strayed at `frame`: float32 (N,), see `strayed`.

        On a key frame the objects that a human drew begin anew.
        """
        unsure = divergence.doubt(step, previous=self.previous)
        found = divergence.strayed(self._strayed, unsure)
        for number in self._numbering.numbers.get(frame, ()):
            if number <= len(found):
                found[number - 1] = 0.0
        self.previous, self._strayed = step.labels, found
        return found
