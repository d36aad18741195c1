"""Fills a span by a forward or a backward pass alone."""

from __future__ import annotations

from jobs.spans import Passes
from tracker.divergence import score
from tracker.protocol import LabelMap, Step
from worker.attempts import Kind
from worker.pipeline import Behind
from worker.span_job import SpanJob
from worker.spanfile import SpanWriter, anchor_line, frame_line


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
        previous = job.labels_at(done, order[visited - 1] if visited else start)
        with SpanWriter(job.attempt.path(Kind.FINAL)) as writer, Behind() as behind:
            if writer.empty:
                writer.write(job.header())
            for frame, step in job.sweep(start, order, done, forward=forward).run(visited):
                behind.do(_write, job, writer, frame, step, previous)
                previous = step.labels
                visited += 1
                job.report(visited, len(order))
                if visited < len(order) and job.should_stop():
                    return False
    return visited == len(order)


def _write(job: SpanJob, writer: SpanWriter, frame: int, step: Step, previous: LabelMap) -> None:
    with job.clock.busy("encode"):
        numbers = job.numbering.numbers.get(frame)
        if job.computed(frame):
            doubt = score(step, previous=previous)
            line = frame_line(
                frame, job.without_drawn(frame, step.labels), numbers=numbers, scores=doubt
            )
        else:
            assert numbers is not None
            line = anchor_line(frame, numbers)
    with job.clock.busy("write"):
        writer.write(line)
