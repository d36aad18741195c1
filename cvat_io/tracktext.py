"""Tracks as text, to the letter as CVAT writes them.

Python's XMLGenerator does CVAT's quoting; elements are indented by two blanks and never
self-closed.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from functools import lru_cache
from xml.sax.saxutils import escape, quoteattr

from cvat_io.masks import tight_many
from cvat_io.model import Mask, MaskShape, Meta
from cvat_io.runtext import format_rle

HEAD = '<?xml version="1.0" encoding="utf-8"?>\n<annotations>\n  <version>1.1</version>\n'
FOOT = "</annotations>\n"

_BATCH = 32  # masks that are made canonical at once
_BATCH_RUNS = 1 << 16
_RETURN = {"\r": "&#13;"}  # else a parser would read a line feed


def text_of(value: str) -> str:
    """Escape `value` as the text of an element."""
    return escape(value, _RETURN)


def mask_tracks(first: int | None, shapes: Iterable[MaskShape], meta: Meta) -> Iterator[str]:
    """Write each mask as a track of its own; ids count from `first`, or are those of the masks.

    CVAT closes a shape of one frame on the next frame only where that one is before the last
    frame (strictly). Masks are made canonical. Raises ValueError for a mask without pixels: CVAT
    knows no empty mask.
    """
    number = first or 0
    for batch in _batches(shapes):
        for shape, mask in zip(batch, tight_many([each.mask for each in batch]), strict=True):
            if mask is None:
                raise ValueError(f"the mask on frame {shape.frame} has no pixel")
            yield _track(shape.track if first is None else number, shape, mask, meta)
            number += 1


def _track(number: int | str, shape: MaskShape, mask: Mask, meta: Meta) -> str:
    group = f' group_id="{shape.group_id}"' if shape.group_id else ""
    values = "".join(
        f"      <attribute name={quoteattr(name)}>{text_of(value)}</attribute>\n"
        for name, value in shape.attributes
    )
    rle = format_rle(mask.runs)
    occluded = int(shape.occluded)
    box = (
        f'" left="{mask.left}" top="{mask.top}" width="{mask.width}" height="{mask.height}" '
        f'z_order="{shape.z_order}">\n{values}    </mask>\n'
    )
    closing = shape.frame + meta.step
    closed = ""
    if closing < meta.stop_frame:
        closed = (
            f'    <mask frame="{closing}" keyframe="1" outside="1" occluded="{occluded}" '
            f'rle="{rle}{box}'
        )
    return (
        f'  <track id="{number}" label={_quoted(shape.label)} '
        f"source={_quoted(shape.source)}{group}>\n"
        f'    <mask frame="{shape.frame}" keyframe="1" outside="0" occluded="{occluded}" '
        f'rle="{rle}{box}{closed}  </track>\n'
    )


@lru_cache(maxsize=256)
def _quoted(name: str) -> str:
    """A label or a source as an attribute's value; there are few, on many masks."""
    return quoteattr(name)


def _batches(shapes: Iterable[MaskShape]) -> Iterator[list[MaskShape]]:
    batch: list[MaskShape] = []
    runs = 0
    for shape in shapes:
        batch.append(shape)
        runs += shape.mask.runs.size
        if len(batch) == _BATCH or runs > _BATCH_RUNS:
            yield batch
            batch, runs = [], 0
    if batch:
        yield batch
