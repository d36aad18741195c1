"""Masks gathered by frame, and colours: what pictures of a result need."""

from __future__ import annotations

import colorsys
import re
from collections.abc import Iterator

from cvat_io.model import Label, MaskShape
from cvat_io.reader import Export

Colour = tuple[int, int, int]
"""Red, green, blue, each 0..255."""


def masks_by_frame(result: Export) -> Iterator[tuple[int, list[MaskShape]]]:
    """Give every frame, ascending, with its masks, lowest z_order first (file order within).

    A result has its masks in frame order and is streamed; masks of an export may come in any order
    and are sorted in memory.
    """
    ordered = _sorted_masks(result)
    waiting = next(ordered, None)
    for frame in result.meta.frames:
        masks = []
        while waiting is not None and waiting.frame == frame:
            masks.append(waiting)
            waiting = next(ordered, None)
        masks.sort(key=lambda shape: shape.z_order)
        yield frame, masks


def label_colours(labels: tuple[Label, ...]) -> dict[str, Colour]:
    """Return each label's own colour; labels without one get distinct hues."""
    colours: dict[str, Colour] = {}
    for index, label in enumerate(labels):
        found = re.fullmatch(r"#([0-9a-fA-F]{2})([0-9a-fA-F]{2})([0-9a-fA-F]{2})", label.color)
        if label.name not in colours:
            colours[label.name] = (
                (int(found[1], 16), int(found[2], 16), int(found[3], 16)) if found else hue(index)
            )
    return colours


def hue(index: int) -> Colour:
    """Return a colour that is unlike those of the neighbouring numbers."""
    red, green, blue = colorsys.hsv_to_rgb(index * 0.618034 % 1, 0.8, 0.95)
    return round(red * 255), round(green * 255), round(blue * 255)


def _sorted_masks(result: Export) -> Iterator[MaskShape]:
    last = -1
    for track in result.tracks():
        if isinstance(track, MaskShape):
            if track.frame < last:
                break
            last = track.frame
    else:
        return (track for track in result.tracks() if isinstance(track, MaskShape))
    masks = [track for track in result.tracks() if isinstance(track, MaskShape)]
    masks.sort(key=lambda shape: shape.frame)
    return iter(masks)
