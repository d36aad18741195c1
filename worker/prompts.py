"""What a run adds to the masks of an export, once, before anything is learned.

Rectangles and polygons of key frames become masks, and key frames that the export lacks get those
of the previous result. They are put into a copy of the export's annotations that takes the
export's place in all that the run does afterwards: to the engine, the passes, the result and its
verification they are masks like any other. The shapes themselves stay as they are, in the copy as
in the result.
"""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import replace
from itertools import groupby
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from cvat_io.atomic import temporary_name
from cvat_io.masks import encode
from cvat_io.model import MaskShape
from cvat_io.polygons import rasterise
from cvat_io.prompts import Kind, Prompt
from cvat_io.reader import open_export
from cvat_io.result import write_annotations
from jobs.files import sync_folder
from jobs.options import Prompts, RunOptions
from jobs.plan import RunInputs, RunPlan, prompts_of
from jobs.sheet import masks_on
from tracker import segmenters
from tracker.engines import Power
from tracker.frames import ZipFrames
from tracker.segmenters.protocol import Segmenter
from worker.pipeline import SpanFrames, StageClock

COPY = "prompted.xml"  # in the folder of the run's spans
_MARGIN = 0.05  # of a rectangle's size: how far its object may reach beyond it
_LEAST_MARGIN = 2  # pixels


def complete(
    inputs: RunInputs,
    plan: RunPlan,
    folder: Path,
    *,
    make_segmenter: Callable[[], Segmenter],
    threads: int = 0,
    should_stop: Callable[[], bool] | None = None,
) -> RunInputs | None:
    """The run's inputs with the masks that its options ask for; None when stopped before the end.

    Where they ask for none, `inputs` itself. Else the copy of the annotations is made in `folder`
    (that of the run's spans), unless it is there: whoever was first settles it for all workers.
    `make_segmenter` is called only where there are rectangles; `threads`: of the CPU, 0 for all;
    `should_stop` is asked after every frame.

    Raises InputError for an image that cannot be read, and for a shape that covers no pixel.
    """
    if not adds_masks(inputs.options, plan):
        return inputs
    copy = folder / COPY
    if not copy.exists():
        keys = frozenset(plan.key_frames)
        prompts = [prompt for prompt in prompts_of(inputs) if prompt.like.frame in keys]
        from tracker.power import working  # here: it brings PyTorch, which takes seconds

        with working(Power(threads=threads)):
            masks = _masks(inputs, prompts, make_segmenter, should_stop or _never)
        if masks is None:
            return None
        _write(inputs, copy, [*_borrowed(inputs, plan), *masks])
    return replace(inputs, annotations=copy, original=inputs.annotations)


def adds_masks(options: RunOptions, plan: RunPlan) -> bool:
    """Whether the masks of the export are not all that there are."""
    return options.prompts is not Prompts.OFF or bool(plan.borrowed)


def _borrowed(inputs: RunInputs, plan: RunPlan) -> list[MaskShape]:
    """The masks of key frames that the export lacks, as the previous result has them."""
    if not plan.borrowed:
        return []
    assert inputs.previous is not None
    with open_export(inputs.previous, inputs.limits) as previous:
        found = masks_on(previous, plan.borrowed, inputs.ignore_labels)
    return [shape for masks in found.values() for shape, _ in masks]


def segmenter(
    options: RunOptions,
    device: str,
    kept: Path | None = None,
    *,
    on_notice: Callable[[str], None] | None = None,
) -> Segmenter:
    """The segmenter that a run asks for, on `device`: "cpu", "cuda" or "cuda:N".

    `kept`: a folder for images that it has encoded. `on_notice`: as for `segmenters.make`. Raises
    InputError where its weights are missing or wrong.
    """
    if kept is None or options.segmenter == segmenters.BUILTIN:
        return segmenters.make(options.segmenter, device, on_notice=on_notice)
    from tracker.segmenters.embeddings import Embeddings  # here: only large networks need it

    return segmenters.make(options.segmenter, device, Embeddings(kept), on_notice)


def _masks(
    inputs: RunInputs,
    prompts: Sequence[Prompt],
    make_segmenter: Callable[[], Segmenter],
    should_stop: Callable[[], bool],
) -> list[MaskShape] | None:
    """The masks of all shapes, by frame and in file order there."""
    ordered = sorted(prompts, key=lambda prompt: prompt.like.frame)
    frames = tuple(sorted({prompt.like.frame for prompt in prompts}))
    if not frames:
        return []
    looks: Segmenter | None = None
    found: list[MaskShape] = []
    with open_export(inputs.images, inputs.limits) as export:
        meta = export.meta
        members = [export.images[frame] for frame in frames]
    with ZipFrames(inputs.images, members, inputs.limits.image_pixels) as source:
        images = SpanFrames(source, frames, StageClock(), inputs.images.name)
        images.require_size(meta.width, meta.height)
        for frame, group in groupby(ordered, key=lambda prompt: prompt.like.frame):
            here = list(group)
            if any(prompt.kind is Kind.BOX for prompt in here):
                looks = looks or make_segmenter()
                looks.set_image(images.read(frame))
            found += [_mask(prompt, looks, images.height, images.width) for prompt in here]
            if should_stop():
                return None
    return found


def _mask(prompt: Prompt, looks: Segmenter | None, height: int, width: int) -> MaskShape:
    if prompt.kind is Kind.POLYGON or looks is None:
        pixels = rasterise(prompt.points, height, width)
    else:
        pixels = _segmented(prompt, looks, height, width)
    mask = encode(pixels)
    if mask is None:
        raise prompt.without_pixels()
    return prompt.filled(mask)


def _segmented(prompt: Prompt, looks: Segmenter, height: int, width: int) -> NDArray[np.bool_]:
    """What the segmenter finds in a rectangle; the whole rectangle where it finds nothing.

    A human who draws a rectangle says that something is in it, and nothing of it far outside.
    """
    left, top, right, bottom = prompt.box
    left, top, right, bottom = max(left, 0.0), max(top, 0.0), min(right, width), min(bottom, height)
    # Segmenters count from the middle of the first pixel, CVAT from its corner.
    box = np.array([left, top, right, bottom], dtype=np.float32) - np.float32(0.5)
    if not (box[:2] < box[2:]).all():
        raise prompt.without_pixels()
    answer = looks.predict(box=box).mask
    margin = max(_LEAST_MARGIN, _MARGIN * max(right - left, bottom - top))
    inside = (
        slice(max(0, math.floor(top - margin)), math.ceil(bottom + margin)),
        slice(max(0, math.floor(left - margin)), math.ceil(right + margin)),
    )
    pixels = np.zeros((height, width), dtype=np.bool_)
    pixels[inside] = answer[inside]
    return pixels if pixels.any() else rasterise(prompt.points, height, width)


def _write(inputs: RunInputs, copy: Path, masks: Sequence[MaskShape]) -> None:
    """Make the copy, unless somebody was first: then theirs stays, which others may have read."""
    with open_export(inputs.annotations, inputs.limits) as export, temporary_name(copy) as draft:
        drawn = (track for track in export.tracks() if isinstance(track, MaskShape))
        write_annotations(draft, export, _after(drawn, masks))
        try:
            os.link(draft, copy)
        except FileExistsError:
            return
        except OSError:  # a disk that knows no links
            if not copy.exists():
                draft.replace(copy)
        sync_folder(copy.parent)


def _after(drawn: Iterable[MaskShape], made: Sequence[MaskShape]) -> Iterator[MaskShape]:
    """Masks as drawn keep their place in a frame's order; those that were made come behind."""
    yield from drawn
    yield from made


def _never() -> bool:
    return False
