"""Computes one span: the entry that `relay track` and the queue's workers both use."""

from __future__ import annotations

import time
from collections.abc import Callable, Generator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from cvat_io.reader import open_export
from jobs.options import MemoryKeeps, RunOptions
from jobs.plan import RunInputs, RunPlan
from jobs.spans import Passes, SpanPlan
from tracker import engines
from tracker.fits import memory_in_words
from tracker.frames import ZipFrames
from tracker.segmenters.protocol import Segmenter
from worker.attempts import Attempt, Kind
from worker.one_pass import fill_by_one_pass
from worker.pipeline import SpanFrames, StageClock
from worker.prompts import segmenter
from worker.refine import Refiner
from worker.seeds import Numbering, Seeds, read_seeds
from worker.span_job import SpanJob
from worker.two_passes import fill_by_two_passes


@dataclass(frozen=True, slots=True)
class SpanOutcome:
    """What came of an attempt. `stopped`: `should_stop` said so before the span was complete.

    `seconds`: wall time of this attempt; `stages`: busy seconds of decode, track, encode, write.
    """

    file: Path
    seconds: float
    stages: dict[str, float]
    stopped: bool


def compute_span(
    inputs: RunInputs,
    plan: RunPlan,
    span: SpanPlan,
    *,
    folder: Path,
    fence: int,
    device: str,
    on_progress: Callable[[int, int], None],
    should_stop: Callable[[], bool],
    threads: int = 0,
    compiled: bool = False,
    spans_at_once: int = 1,
    learned: bytes | None = None,
    seeds: Seeds | None = None,
    make_segmenter: Callable[[], Segmenter] | None = None,
    on_notice: Callable[[str], None] | None = None,
) -> SpanOutcome:
    """Fill `span`, going on from the best earlier attempt in `folder` (which must exist).

    `fence`: number of this attempt, larger than any earlier one's. `device`, `threads`, `compiled`,
    `learned`: as `tracker.engines.make` takes them. `spans_at_once`: how many this process may be
    computing, this one included. `on_progress(done, total)` is called in this
    thread, in frames; in a fused span a frame counts half after each pass. `should_stop` is asked
    after every frame.
    `seeds`: masks of the anchors, where the caller has read them already. `make_segmenter`: called
    once at most, where the run looks at doubtful frames again; None: its own one, on `device`.
    `on_notice` hears sentences that people should know, such as that the device is too small for
    all of the engine; the same one may come again.

    The final file equals, byte for byte, that of an attempt that was never disturbed; where an
    engine computes several spans in one batch, up to rounding.
    Raises InputError for images that cannot be read or do not fit the masks, and where the device
    has too little memory for any way to go on.
    """
    began = time.perf_counter()
    clock = StageClock()
    attempt = Attempt(folder, span.ordinal, fence)
    if seeds is None:
        seeds = read_seeds(
            inputs.annotations, inputs.limits, span.anchors, inputs.ignore_labels, plan.anew
        )
    with _open_frames(inputs, span, clock) as frames, memory_in_words(inputs.engine):
        job = SpanJob(
            span=span,
            frames=frames,
            attempt=attempt,
            clock=clock,
            numbering=Numbering(seeds, frames.height, frames.width),
            make=lambda: engines.make(
                inputs.engine,
                device,
                inputs.options.seed,
                threads=threads,
                learned=learned,
                compiled=compiled,
                spans=spans_at_once,
                memory=_memory(inputs.options),
                on_notice=on_notice,
            ),
            on_progress=on_progress,
            should_stop=should_stop,
            refiner=_refiner(
                inputs.options,
                make_segmenter or partial(segmenter, inputs.options, device, on_notice=on_notice),
                frames,
                threads,
            ),
        )
        fused = span.direction is Passes.BOTH
        finished = fill_by_two_passes(job) if fused else fill_by_one_pass(job)
    seconds = time.perf_counter() - began
    if finished:
        attempt.complete(seconds, clock.seconds)
    return SpanOutcome(attempt.path(Kind.FINAL), seconds, clock.seconds, stopped=not finished)


def _refiner(
    options: RunOptions, make: Callable[[], Segmenter], frames: SpanFrames, threads: int
) -> Refiner | None:
    return Refiner(make, frames.read, threads) if options.refine else None


def _memory(options: RunOptions) -> engines.Memory:
    return engines.Memory(
        frames=options.memory_frames,
        gap=options.memory_gap,
        keep_key_frames=options.memory_keeps is MemoryKeeps.KEY_FRAMES,
    )


@contextmanager
def _open_frames(
    inputs: RunInputs, span: SpanPlan, clock: StageClock
) -> Generator[SpanFrames, None, None]:
    """The images of a span and of its anchors."""
    with open_export(inputs.images, inputs.limits) as source:
        meta = source.meta
        low, high = min(span.start, span.anchors[0]), max(span.stop, span.anchors[-1])
        numbers = tuple(
            frame for frame in meta.frames if low <= frame <= high and frame in source.images
        )
        members = [source.images[frame] for frame in numbers]
    with ZipFrames(inputs.images, members, inputs.limits.image_pixels) as images:
        frames = SpanFrames(images, numbers, clock, inputs.images.name)
        frames.require_size(meta.width, meta.height)
        yield frames
