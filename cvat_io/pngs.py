"""Indexed PNG masks: one palette image per frame, one index per object."""

from __future__ import annotations

import io
import os
import zipfile
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import numpy as np
from PIL import Image

from cvat_io.atomic import filling, replacing, require_writable, writing
from cvat_io.export_pair import require_fits
from cvat_io.frames import Colour, label_colours, masks_by_frame
from cvat_io.masks import paint
from cvat_io.model import MaskShape
from cvat_io.reader import Export
from errors import InputError

_MOST_OBJECTS = 255  # a palette has 256 entries, and 0 is background


def write_masks(out: Path, result: Export, images: Export) -> None:
    """Write `frame_%06d.png` for every frame, into the zip `out` (*.zip) or the folder `out`.

    `images`: the export that the result was made from; it knows the size of the frames where the
    result's own head does not. Index 0 is background; the k-th mask of a frame (lowest z_order
    first, file order within) has index k and its label's colour, shaded so that neighbours differ.
    Higher masks cover lower ones. A text file names the label of each index. A folder must be new
    or empty; folder and zip appear whole or not at all.

    Raises InputError when the two are not of one job, when the frame size is not known, when a
    frame has more than 255 masks (before anything is written) and when `out` cannot be written.
    """
    if out.suffix.lower() == ".zip":
        require_writable(out)
        require_fits(result, images)
        _require_few(result)
        with (
            writing(out),
            replacing(out) as file,
            zipfile.ZipFile(file, "w", zipfile.ZIP_STORED) as archive,
        ):
            _write(result, lambda name, data: archive.writestr(zipfile.ZipInfo(name), data))
        return
    with writing(out), filling(out) as folder:
        require_fits(result, images)
        _require_few(result)
        _write(result, lambda name, data: _put(folder / name, data))


def _put(path: Path, data: bytes) -> None:
    with path.open("xb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())


def _require_few(result: Export) -> None:
    masks = Counter(shape.frame for shape in result.tracks() if isinstance(shape, MaskShape))
    for frame, count in sorted(masks.items()):
        if count > _MOST_OBJECTS:
            raise InputError(
                f"Frame {frame} has {count} masks, but an indexed PNG holds at most "
                f"{_MOST_OBJECTS}: use the format coco."
            )


def _write(result: Export, put: Callable[[str, bytes], None]) -> None:
    width, height = result.meta.width, result.meta.height
    assert width is not None
    assert height is not None
    colours = label_colours(result.meta.labels)
    index_of: list[str] = ["frame,index,label\n"]
    for frame, masks in masks_by_frame(result):
        put(f"frame_{frame:06d}.png", _png(masks, colours, width, height))
        index_of += [
            f"{frame},{number},{_quoted(shape.label)}\n"
            for number, shape in enumerate(masks, start=1)
        ]
    put("labels.csv", "".join(index_of).encode())


def _png(masks: list[MaskShape], colours: dict[str, Colour], width: int, height: int) -> bytes:
    indices = np.zeros((height, width), dtype=np.uint8)
    palette = [0, 0, 0]
    for number, shape in enumerate(masks, start=1):
        paint(shape.mask, indices, number)
        shade = 1 - 0.12 * ((number - 1) % 5)
        palette += [round(channel * shade) for channel in colours[shape.label]]
    image = Image.fromarray(indices, mode="P")
    image.putpalette(palette)
    out = io.BytesIO()
    image.save(out, "PNG")
    return out.getvalue()


def _quoted(text: str) -> str:
    return '"' + text.replace('"', '""') + '"'
