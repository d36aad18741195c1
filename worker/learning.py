"""Before the first frame is tracked: an engine that learns is shown all key frames of the job."""

from __future__ import annotations

import time
from collections.abc import Callable, Generator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol, overload

from cvat_io.atomic import replacing
from cvat_io.reader import open_export
from jobs.plan import RunInputs, RunPlan
from tracker import engines
from tracker.fits import memory_in_words
from tracker.frames import ZipFrames
from tracker.protocol import Example, Image
from worker.pipeline import SpanFrames, StageClock
from worker.seeds import Seeds, paint_alone, read_seeds


@dataclass(frozen=True, slots=True)
class Learned:
    """What came of learning. `stopped`: `should_stop` said so before the end.

    `learned`: for `tracker.engines.make`; None where there is nothing. `seconds`: wall time.
    """

    learned: bytes | None
    seconds: float
    stopped: bool = False


class Frames(Protocol):
    """Where images of key frames come from; `worker.pipeline.SpanFrames` does."""

    @property
    def height(self) -> int:
        """Rows of every image."""
        ...

    @property
    def width(self) -> int:
        """Pixels per row."""
        ...

    def read(self, frame: int) -> Image:
        """The image of a frame."""
        ...


class KeyFrameExamples(Sequence[Example]):
    """Key frames as drawn, in order of time; images are read and masks painted when asked for.

    So hundreds of large key frames never lie in memory together. Reading one raises InputError for
    an image that cannot be read and for masks that do not fit it.
    """

    def __init__(self, images: Frames, frames: Sequence[int], seeds: Seeds) -> None:
        """`frames`: the key frames; `images` and `seeds`: at least theirs."""
        self._images = images
        self._frames = frames
        self._seeds = seeds

    def __len__(self) -> int:
        return len(self._frames)

    @overload
    def __getitem__(self, index: int) -> Example: ...
    @overload
    def __getitem__(self, index: slice) -> Sequence[Example]: ...
    def __getitem__(self, index: int | slice) -> Example | Sequence[Example]:
        if isinstance(index, slice):
            return KeyFrameExamples(self._images, self._frames[index], self._seeds)
        frame = self._frames[index]
        size = (self._images.height, self._images.width)
        return Example(self._images.read(frame), paint_alone(frame, self._seeds[frame], *size))


def learn_objects(
    inputs: RunInputs,
    plan: RunPlan,
    *,
    device: str,
    threads: int = 0,
    earlier: bytes | None = None,
    seeds: Seeds | None = None,
    on_progress: Callable[[float], None] | None = None,
    should_stop: Callable[[], bool] | None = None,
) -> Learned:
    """Let the run's engine learn from all key frames of the plan; at once where it does not learn.

    `device`, `threads`: as `tracker.engines.learn` takes them. `earlier`: what an earlier run of
    the job learned. `seeds`: masks of the key frames, where the caller has read them already.
    `on_progress` hears the share done, in [0, 1].

    Raises InputError for images that cannot be read or do not fit the masks, and where the device
    has too little memory.
    """
    began = time.perf_counter()
    if not engines.resolve(inputs.engine).learns:
        return Learned(None, 0.0)
    if seeds is None:
        seeds = read_seeds(
            inputs.annotations, inputs.limits, plan.key_frames, inputs.ignore_labels, plan.anew
        )
    # A key frame of which only our masks are left out says nothing of what is there.
    shown = [f for f in plan.key_frames if seeds[f] or f not in plan.anew]
    with _open_key_frames(inputs, plan) as images, memory_in_words(inputs.engine):
        learned = engines.learn(
            inputs.engine,
            KeyFrameExamples(images, shown, seeds),
            device=device,
            seed=inputs.options.seed,
            threads=threads,
            earlier=earlier,
            on_progress=on_progress,
            should_stop=should_stop,
        )
    return Learned(learned or None, time.perf_counter() - began, stopped=learned is None)


def write_learned(folder: Path, fence: int, learned: bytes | None) -> str:
    """Put what was learned into `folder`, whole or not at all; returns the file's name.

    `fence`: of the attempt. There is no file, and the name is empty, where there is nothing.
    """
    if learned is None:
        return ""
    path = folder / f"learned.{fence}.npz"
    with replacing(path) as file:
        file.write(learned)
    return path.name


def read_earlier(path: Path | None) -> bytes | None:
    """What an earlier run learned; None where its file is gone or cannot be read.

    Learning then only takes longer: it begins from nothing, as in a first run.
    """
    try:
        return None if path is None else path.read_bytes()
    except OSError:
        return None


@contextmanager
def _open_key_frames(inputs: RunInputs, plan: RunPlan) -> Generator[SpanFrames, None, None]:
    with open_export(inputs.images, inputs.limits) as export:
        meta = export.meta
        members = [export.images[frame] for frame in plan.key_frames]
    with ZipFrames(inputs.images, members, inputs.limits.image_pixels) as source:
        frames = SpanFrames(source, plan.key_frames, StageClock(), inputs.images.name)
        frames.require_size(meta.width, meta.height)
        yield frames
