"""COCO 1.0, as CVAT exports and imports it.

Each mask becomes one annotation with iscrowd 1 and uncompressed run lengths over the whole image,
COLUMN by column, the first run of zeros. Only masks are written: other tracks stay in the result.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np

from cvat_io.atomic import replacing, require_writable, writing
from cvat_io.export_pair import image_names, require_fits
from cvat_io.masks import area, decode, tight
from cvat_io.model import Mask, MaskShape
from cvat_io.reader import Export
from cvat_io.zipwrite import write_zip

MEMBER = "annotations/instances_default.json"


def write_coco(out: Path, result: Export, images: Export) -> None:
    """Write the masks of a result (or export) as COCO 1.0.

    `images`: the export that the result was made from; it says what the result's own head may not:
    the size of the frames and the names of an image list. A name that ends in .json gives the bare
    file, any other a zip as CVAT makes it. Category ids count from 1 in label order, image ids from
    1 in frame order. Raises InputError when the two are not of one job, when the frame size is not
    known and when `out` cannot be written.
    """
    require_writable(out)
    require_fits(result, images)
    width, height = result.meta.width, result.meta.height
    assert width is not None
    assert height is not None
    head = _head(result, image_names(result, images), width, height)
    parts = chain(head, _annotations(result, width, height), ["]}\n"])
    with writing(out), replacing(out) as file:
        if out.suffix.lower() == ".json":
            for part in parts:
                file.write(part.encode())
        else:
            write_zip(file, MEMBER, parts)


def counts_of(mask: Mask, width: int, height: int) -> list[int]:
    """Return COCO's run lengths of a mask in a whole image: column by column, zeros first."""
    columns = decode(mask).T
    flat = columns.ravel()
    changes = np.flatnonzero(flat[1:] != flat[:-1]) + 1
    first = np.array([0], dtype=np.int64)
    # Borders of set pixels, first in the box, then in the image: whole columns of it lie between.
    borders = np.concatenate((first if flat[0] else first[:0], changes))
    if flat[-1]:
        borders = np.append(borders, flat.size)
    starts, ends = borders[0::2], borders[1::2] - 1
    x0, y0 = np.divmod(starts, mask.height)
    x1, y1 = np.divmod(ends, mask.height)
    if mask.height == height:
        runs_start = starts + mask.left * height
        runs_end = ends + mask.left * height + 1
    else:
        # A run that goes on into the next column is cut there: rows lie in between.
        pieces = x1 - x0 + 1
        index = np.repeat(np.arange(starts.size), pieces)
        column = x0[index] + np.arange(index.size) - np.repeat(np.cumsum(pieces) - pieces, pieces)
        begin = np.where(column == x0[index], y0[index], 0)
        end = np.where(column == x1[index], y1[index], mask.height - 1)
        base = (mask.left + column) * height + mask.top
        runs_start, runs_end = base + begin, base + end + 1
    bounds = np.empty(2 * runs_start.size + 2, dtype=np.int64)
    bounds[0] = 0
    bounds[1:-1:2] = runs_start
    bounds[2:-1:2] = runs_end
    bounds[-1] = width * height
    counts: list[int] = np.diff(bounds).tolist()
    return counts[:-1] if counts[-1] == 0 else counts


def _head(result: Export, names: dict[int, str], width: int, height: int) -> Iterator[str]:
    meta = result.meta
    labels = [label for label in meta.labels if label.parent is None]
    head = {
        "licenses": [{"name": "", "id": 0, "url": ""}],
        "info": {
            "contributor": "", "date_created": "", "description": "", "url": "", "version": "",
            "year": "",
        },
        "categories": [
            {"id": number, "name": label.name, "supercategory": ""}
            for number, label in enumerate(labels, start=1)
        ],
    }  # fmt: skip
    yield json.dumps(head, ensure_ascii=False)[:-1] + ', "images": ['
    for number, frame in enumerate(meta.frames, start=1):
        image = {
            "id": number, "width": width, "height": height, "file_name": names[frame],
            "license": 0, "flickr_url": "", "coco_url": "", "date_captured": 0,
        }  # fmt: skip
        yield (", " if number > 1 else "") + json.dumps(image, ensure_ascii=False)
    yield '], "annotations": ['


def _annotations(result: Export, width: int, height: int) -> Iterator[str]:
    meta = result.meta
    names = [label.name for label in meta.labels if label.parent is None]
    categories = {name: number for number, name in enumerate(names, start=1)}
    number = 0
    for shape in result.tracks():
        mask = tight(shape.mask) if isinstance(shape, MaskShape) else None
        if mask is None or not isinstance(shape, MaskShape):
            continue
        number += 1
        annotation = {
            "id": number,
            "image_id": meta.frames.index(shape.frame) + 1,
            "category_id": categories[shape.label],
            "segmentation": {"counts": counts_of(mask, width, height), "size": [height, width]},
            "area": area(mask),
            "bbox": [mask.left, mask.top, mask.width, mask.height],
            "iscrowd": 1,
            "attributes": _typed(result, shape) | {"occluded": shape.occluded},
        }
        yield (", " if number > 1 else "") + json.dumps(annotation, ensure_ascii=False)


def _typed(result: Export, shape: MaskShape) -> dict[str, Any]:
    """Attribute values as JSON has them: check boxes as booleans, numbers as numbers."""
    label = next(each for each in result.meta.labels if each.name == shape.label)
    kinds = {each.name: each.input_type for each in label.attributes}
    values: dict[str, Any] = {}
    for name, text in shape.attributes:
        values[name] = text
        if kinds.get(name) == "checkbox":
            values[name] = text.lower() == "true"
        elif kinds.get(name) == "number":
            try:
                values[name] = float(text) if "." in text else int(text)
            except ValueError:
                values[name] = text
    return values
