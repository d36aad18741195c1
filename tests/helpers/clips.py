"""Exports for tests: tiny clips made with numpy, and the clips of ../shared with human masks."""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image as Pillow

from bench.clips import CLIPS, find_clip, write_footage
from bench.clips import clip_names as clip_names
from config import Limits
from cvat_io.build import write_export
from cvat_io.masks import encode, encode_labels
from cvat_io.model import Label, LabelAttribute, MaskShape
from cvat_io.reader import open_export

SHARED = CLIPS.parent
LABELS = (
    Label("object", "#ff0000", "any", (LabelAttribute("track_id", False, "text", "", ()),)),
    Label("thing", "#00ff00", "any"),
    Label("HUD", "#0000ff", "mask"),
)


@dataclass(frozen=True)
class Clip:
    """Images by index, their exact label maps, and the label of every object number."""

    images: Sequence[NDArray[np.uint8]]
    maps: Sequence[NDArray[np.uint16]]
    kinds: Mapping[int, str]


def tiny_clip(
    length: int, *, objects: int = 2, width: int = 64, height: int = 48, seed: int = 0
) -> Clip:
    """Textured squares that drift over textured ground: up to three in rows, or many in cells."""
    random = np.random.default_rng(seed)
    ground = random.integers(0, 120, (height, width + length, 3), dtype=np.uint8)
    few, side = objects <= 3, 12
    skins = random.integers(130, 255, (objects, side, side, 3), dtype=np.uint8)
    images, maps = [], []
    for time in range(length):
        image = ground[:, time : time + width].copy()
        labels = np.zeros((height, width), dtype=np.uint16)
        for number in range(1, objects + 1):
            x, y = _place(number, time, side, width) if few else _cell(number, time, width)
            image[y : y + side, x : x + side] = skins[number - 1]
            labels[y : y + side, x : x + side] = number
        images.append(np.ascontiguousarray(image))
        maps.append(labels)
    kinds = {n: "object" if n % 2 else "thing" for n in range(1, objects + 1)}
    return Clip(images, maps, kinds)


def _place(number: int, time: int, side: int, width: int) -> tuple[int, int]:
    """One of three rows, to and fro."""
    room = width - side
    swing = (time + 7 * number) % (2 * room)
    return min(swing, 2 * room - swing), (number - 1) * (side + 4)


def _cell(number: int, time: int, width: int) -> tuple[int, int]:
    """One of many cells of 20x20 pixels, drifting a little."""
    across = width // 20
    return (number - 1) % across * 20 + time % 8, (number - 1) // across * 20


def shapes_of(
    clip: Clip, index: int, frame: int, *, without: frozenset[int] = frozenset()
) -> list[MaskShape]:
    """The exact masks of one image as a human would have drawn them on `frame`."""
    return [
        MaskShape(frame=frame, label=clip.kinds[number], mask=mask)
        for number, mask in encode_labels(clip.maps[index]).items()
        if number not in without
    ]


def write_clip(
    path: Path,
    clip: Clip,
    keys: Sequence[int],
    *,
    start: int = 0,
    step: int = 1,
    masks: Sequence[MaskShape] | None = None,
    extra: Sequence[MaskShape] = (),
    deleted: frozenset[int] = frozenset(),
    with_images: bool = True,
    labels: Sequence[Label] | None = None,
) -> Path:
    """Write an export of `clip` with its exact masks on the images `keys` (counted from 0).

    `masks` replaces these, `extra` adds to them. `deleted`: images that are left out.
    """
    frames = range(start, start + step * len(clip.images), step)
    if masks is None:
        masks = [shape for index in keys for shape in shapes_of(clip, index, frames[index])]
    height, width = clip.maps[0].shape
    write_export(
        path,
        frames=(
            (frames[index], png(image))
            for index, image in enumerate(clip.images)
            if index not in deleted
        ),
        width=width,
        height=height,
        labels=LABELS if labels is None else labels,
        masks=[*masks, *extra],
        job_id="7",
        start_frame=start,
        stop_frame=frames[-1],
        step=step,
        with_images=with_images,
    )
    return path


def hud(frame: int) -> MaskShape:
    """A mask of a label that is to be ignored, in the upper left corner."""
    mask = encode(np.ones((5, 9), dtype=np.bool_), left=1, top=2)
    assert mask is not None
    return MaskShape(frame=frame, label="HUD", mask=mask, z_order=5)


def clip_export(name: str, folder: Path, *, every: int = 20, length: int | None = None) -> Path:
    """Write NAME.zip into `folder`: a clip of ../shared/clips with its human masks.

    Key frames are every `every`-th frame, where the clip has a mask; `length` cuts it short.
    """
    path = folder / f"{name}.zip"
    clip = find_clip(name).cut(length)
    write_footage(path, clip, clip.keys(every), job_id=name)
    return path


def png(image: NDArray[np.uint8]) -> bytes:
    """An image as the bytes of a PNG file."""
    file = io.BytesIO()
    Pillow.fromarray(image).save(file, "PNG", compress_level=1)
    return file.getvalue()


def masks_by_frame(path: Path) -> dict[int, list[MaskShape]]:
    """All masks of an archive."""
    found: dict[int, list[MaskShape]] = {}
    with open_export(path, Limits()) as export:
        for shape in export.tracks():
            if isinstance(shape, MaskShape):
                found.setdefault(shape.frame, []).append(shape)
    return found


def content(shape: MaskShape) -> tuple[object, ...]:
    """Everything about a mask that a round trip must keep."""
    mask = shape.mask
    box = (mask.left, mask.top, mask.width, mask.height)
    beside = (shape.source, shape.occluded, shape.z_order, shape.group_id, shape.attributes)
    return (shape.label, *box, mask.runs.tobytes(), *beside)


def contents(shapes: Sequence[MaskShape]) -> list[tuple[object, ...]]:
    """`content` of several masks, in an order that does not depend on the file."""
    return sorted(map(content, shapes), key=repr)
