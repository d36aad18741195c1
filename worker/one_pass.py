"""Fills a span by a forward or a backward pass alone."""

from __future__ import annotations

from jobs.spans import Passes
from tracker.divergence import Floats
from tracker.protocol import Image, Step
from worker.attempts import Kind
from worker.judge import NOTHING
from worker.pipeline import Behind
from worker.span_job import SpanJob
from worker.spanfile import SpanFile, SpanWriter, anchor_line, frame_line, gone_of
from worker.trail import Trail


def fill_by_one_pass(job: SpanJob) -> bool:
    """Write all frames of the span, in the order of the pass; False when stopped before the end."""
    forward = job.span.direction is Passes.FORWARD
    start, order = job.forward_order() if forward else job.backward_order()
    with job.attempt.take_over()[Kind.FINAL] as done:
        job.restore_numbers(done, start)
        visited = job.visited(done, order)
        job.report(visited, len(order))
        if visited == len(order):
            return True
        last = order[visited - 1] if visited else start
        with SpanWriter(job.attempt.path(Kind.FINAL)) as writer, Behind() as behind:
            if writer.empty:
                writer.write(job.header())
            scribe = _Scribe(job, writer, done, last)
            for frame, image, step in job.sweep(start, order, done, forward=forward).run(visited):
                behind.do(scribe.write, frame, image, step)
                visited += 1
                job.report(visited, len(order))
                if visited < len(order) and job.should_stop():
                    return False
    return visited == len(order)


class _Scribe:
    """Runs behind the pass: judges its frames one after the other and writes them down."""

    def __init__(self, job: SpanJob, writer: SpanWriter, done: SpanFile, last: int) -> None:
        """`last`: the frame that the pass goes on from, of which `done` tells."""
        self._job = job
        self._writer = writer
        self._judge = job.judge()
        self._trail = Trail(job, done, last)
        self._gone: Floats = gone_of(done.read(last)) if last in done else NOTHING

    def write(self, frame: int, image: Image, step: Step) -> None:
        """Judge and write the next frame."""
        job = self._job
        with job.clock.busy("encode"):
            line = self._line(frame, image, step)
        with job.clock.busy("write"):
            self._writer.write(line)

    def _line(self, frame: int, image: Image, step: Step) -> bytes:
        job = self._job
        numbers, met = job.numbering.numbers.get(frame), job.numbering.met.get(frame)
        if not job.computed(frame):
            assert numbers is not None
            return anchor_line(frame, numbers, met)
        previous = self._trail.previous
        strayed = self._trail.go_on(frame, step)
        verdict = self._judge.single(
            frame,
            image,
            step,
            previous,
            strayed=strayed,
            gone=self._gone,
            forward=job.span.direction is Passes.FORWARD,
        )
        self._gone = verdict.gone
        return frame_line(
            frame,
            job.without_drawn(frame, step.labels),
            numbers=numbers,
            met=met,
            verdict=verdict,
            strayed=strayed,
        )
