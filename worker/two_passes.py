"""Fills a span by a forward and a backward pass, fused.

The forward pass is written to a file of its own first, so that memory does not grow with the span;
the backward pass reads it frame by frame as it comes back.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from tracker.divergence import Floats, between, doubt
from tracker.fusion import fuse
from tracker.protocol import Image, LabelMap, Step
from worker.attempts import Kind
from worker.judge import NOTHING
from worker.pipeline import Behind
from worker.refine import Decision
from worker.span_job import SpanJob
from worker.spanfile import SpanFile, SpanWriter, anchor_line, frame_line, gone_of
from worker.trail import Trail


def fill_by_two_passes(job: SpanJob) -> bool:
    """Write all frames of the span, the last one first; False when stopped before the end."""
    files = job.attempt.take_over()
    final_order = [frame for frame in reversed(job.frames.frames) if job.computed(frame)]
    _, forward_order = job.forward_order()
    visits = len(forward_order) + len(final_order)
    if job.visited(files[Kind.FINAL], final_order) == len(final_order):
        job.report(visits, visits)
        return True
    if not _forward(job, files[Kind.FORWARD], forward_order, visits):
        return False
    return _backward(job, files, final_order, len(forward_order), visits)


def _forward(job: SpanJob, done: SpanFile, order: Sequence[int], visits: int) -> bool:
    start = job.span.anchors[0]
    job.restore_numbers(done, start)
    visited = job.visited(done, order)
    job.report(visited, visits)
    if visited == len(order):
        return True
    with (
        done,
        SpanWriter(job.attempt.path(Kind.FORWARD)) as writer,
        Behind() as behind,
    ):
        if writer.empty:
            writer.write(job.header())
        trail = Trail(job, done, order[visited - 1] if visited else start)
        for frame, _, step in job.sweep(start, order, done, forward=True).run(visited):
            behind.do(_write_forward, job, writer, trail, frame, step)
            visited += 1
            job.report(visited, visits)
            if job.should_stop():
                return False
    return visited == len(order)


def _write_forward(job: SpanJob, writer: SpanWriter, trail: Trail, frame: int, step: Step) -> None:
    with job.clock.busy("encode"):
        numbers, met = job.numbering.numbers.get(frame), job.numbering.met.get(frame)
        strayed = trail.go_on(frame, step)
        if job.computed(frame):
            labels = job.without_drawn(frame, step.labels)
            line = frame_line(
                frame,
                labels,
                numbers=numbers,
                met=met,
                confidence=step.confidence,
                strayed=strayed,
            )
        else:
            assert numbers is not None
            line = anchor_line(frame, numbers, met)
    with job.clock.busy("write"):
        writer.write(line)


def _backward(
    job: SpanJob,
    files: dict[Kind, SpanFile],
    final_order: Sequence[int],
    before: int,
    visits: int,
) -> bool:
    """Go back through the span and fuse; `before` visits of `visits` were made already."""
    start, order = job.backward_order()
    # With partial key frames there are frames from the last anchor on, which only the forward
    # pass can fill; they come first.
    tail = final_order[: len(final_order) - len(order)]
    final, backward = files[Kind.FINAL], files[Kind.BACKWARD]
    written = job.visited(final, final_order)
    visited = min(max(0, written - len(tail)), job.visited(backward, order))
    written = min(written, len(tail) + visited)
    final = job.attempt.keep(Kind.FINAL, final, final_order[:written])
    backward = job.attempt.keep(Kind.BACKWARD, backward, order[:visited])
    job.report(before + written, visits)

    with (
        SpanFile(job.attempt.path(Kind.FORWARD)) as forward,
        final,
        backward,
        SpanWriter(job.attempt.path(Kind.FINAL)) as final_writer,
        SpanWriter(job.attempt.path(Kind.BACKWARD)) as backward_writer,
        Behind() as behind,
    ):
        for writer in (final_writer, backward_writer):
            if writer.empty:
                writer.write(job.header())
        last = final_order[written - 1] if written else start
        previous = job.labels_at(final, last) if written or not tail else None
        gone = gone_of(final.read(last)) if written else NOTHING
        trail = Trail(job, backward, order[visited - 1] if visited else start)
        fuser = _Fuser(job, forward, final_writer, backward_writer, previous, gone, trail)
        for frame in tail[written:]:
            behind.do(fuser.write, frame, job.frames.read(frame), None)
            written += 1
            job.report(before + written, visits)
            if job.should_stop():
                return False
        for frame, image, step in job.sweep(start, order, backward, forward=False).run(visited):
            behind.do(fuser.write, frame, image, step)
            written += 1
            job.report(before + written, visits)
            if written < len(final_order) and job.should_stop():
                return False
    return written == len(final_order)


class _Fuser:
    """Runs behind the backward pass: fuses each of its frames with the forward pass's."""

    def __init__(
        self,
        job: SpanJob,
        forward: SpanFile,
        final_writer: SpanWriter,
        backward_writer: SpanWriter,
        previous: LabelMap | None,
        gone: Floats,
        trail: Trail,
    ) -> None:
        """`previous`, `gone`: labels of the frame before in the final file (None: there is none),
        and objects that were gone there; `trail`: of the backward pass.
        """
        self._job = job
        self._judge = job.judge()
        self._gone = gone
        self._trail = trail
        self._forward = forward
        self._final_writer = final_writer
        self._backward_writer = backward_writer
        self._previous = previous  # what was decided for the frame before
        count = job.numbering.count
        self._first = np.zeros(count, dtype=np.int64)  # first and last anchor that shows an object
        self._last = np.zeros(count, dtype=np.int64)
        for anchor in reversed(job.span.anchors):
            self._first[_entries(job, anchor)] = anchor
        for anchor in job.span.anchors:
            self._last[_entries(job, anchor)] = anchor

    def write(self, frame: int, image: Image, backward: Step | None) -> None:
        """Decide one frame; `backward` is None where that pass has not begun yet."""
        job = self._job
        strayed = NOTHING
        with job.clock.busy("encode"):
            line = b""
            if backward is not None:
                strayed = self._trail.go_on(frame, backward)
                backward = Step(job.without_drawn(frame, backward.labels), backward.confidence)
                line = frame_line(frame, backward.labels, strayed=strayed)
        with job.clock.busy("write"):
            self._backward_writer.write(line)
        with job.clock.busy("encode"):
            line = self._decide(frame, image, backward, strayed)
        with job.clock.busy("write"):
            self._final_writer.write(line)

    def _decide(self, frame: int, image: Image, backward: Step | None, strayed: Floats) -> bytes:
        job = self._job
        in_forward, in_backward = self._first < frame, self._last > frame
        drawn = job.numbering.numbers.get(frame)
        if drawn is not None:
            in_forward[_entries(job, frame)] = in_backward[_entries(job, frame)] = False
        weight, previous = _weight_forward(frame, job.span.anchors), self._previous

        def decide(one: Step, other: Step) -> Decision:
            fused, agreement = fuse(
                one,
                other,
                weight_forward=weight,
                in_forward=in_forward,
                in_backward=in_backward,
            )
            unsure = doubt(fused, previous=previous, agreement=agreement)
            return Decision(fused, agreement, unsure)

        forward, strayed_forward = self._forward_step(frame)
        backward = self._nothing() if backward is None else backward
        decided = decide(forward, backward)
        if job.refiner is not None:
            decided = job.refiner.better(frame, forward, backward, decided, decide)
        labels = decided.step.labels
        verdict = self._judge.fused(
            frame,
            image,
            decided.step,
            labels if previous is None else previous,
            agreement=decided.agreement,
            strayed=between(strayed_forward, strayed, weight, len(in_forward)),
            gone=self._gone,
        )
        self._previous, self._gone = labels, verdict.gone
        if drawn is not None:
            self._previous = job.numbering.drawn(frame)
            np.copyto(self._previous, labels, where=self._previous == 0)
        return frame_line(frame, labels, numbers=drawn, verdict=verdict, refined=decided.refined)

    def _forward_step(self, frame: int) -> tuple[Step, Floats]:
        """What the forward pass found, and how far it had strayed."""
        if frame not in self._forward:  # before the first anchor
            return self._nothing(), NOTHING
        record = self._forward.read(frame)
        frames = self._job.frames
        step = Step(record.labels(frames.height, frames.width), record.confidence)
        return step, record.strayed

    def _nothing(self) -> Step:
        frames = self._job.frames
        return Step(
            np.zeros((frames.height, frames.width), dtype=np.uint16), np.zeros(0, dtype=np.float32)
        )


def _entries(job: SpanJob, anchor: int) -> NDArray[np.int64]:
    """Entries of per-object arrays that belong to an anchor's seeds."""
    return np.array(job.numbering.numbers[anchor], dtype=np.int64) - 1


def _weight_forward(frame: int, anchors: Sequence[int]) -> float:
    """Trust in the forward pass: 1 at the anchor before, falling to 0 at the one behind."""
    before, behind = bisect_left(anchors, frame) - 1, bisect_right(anchors, frame)
    if before < 0:
        return 0.0
    if behind == len(anchors):
        return 1.0
    return (anchors[behind] - frame) / (anchors[behind] - anchors[before])
