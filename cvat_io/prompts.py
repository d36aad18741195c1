"""Rectangles and polygons of an export that stand for masks: which ones they are, and where.

A track without masks goes through to the result as it is. What is read here comes beside it: of
each key shape that is not outside, `<box>` or `<polygon>`, all that a mask in its place needs.
Interpolated shapes say nothing that a human drew, and are passed over.

Coordinates are CVAT's: the first pixel's corners are (0, 0) and (1, 1). How shapes are written is
in section 4 of the format's rules.
"""

from __future__ import annotations

import io
import math
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from importlib.util import find_spec

import numpy as np
from lxml import etree
from numpy.typing import NDArray

from cvat_io.masks import tight
from cvat_io.model import Mask, MaskShape, OtherTrack
from cvat_io.reader import Export
from cvat_io.xmlstream import attributes, free
from errors import InputError

SOURCE = "semi-auto"  # CVAT's own word for a mask that a program made of what a human gave
_SAME_PLACE = 0.5  # intersection over union of two boxes, from which on they show one object
_FAR = 1e5  # pixels; no frame reaches so far
_LONGEST = 1 << 22  # pixels of a polygon's outline; tracing it takes memory by the pixel


class Kind(StrEnum):
    """Shapes that can be turned into masks, by their tag."""

    BOX = "box"
    POLYGON = "polygon"


@dataclass(frozen=True, slots=True, eq=False)
class Prompt:
    """A human's shape in the place of a mask.

    `points`: float64 (K, 2), corners (x, y) in CVAT's coordinates; of a rectangle its four, turned
    where it is rotated. `like`: the mask shape that it becomes, but for the mask's pixels.
    """

    kind: Kind
    points: NDArray[np.float64]
    like: MaskShape

    @property
    def box(self) -> tuple[float, float, float, float]:
        """Left, top, right and bottom of all points, in CVAT's coordinates."""
        (left, top), (right, bottom) = self.points.min(axis=0), self.points.max(axis=0)
        return float(left), float(top), float(right), float(bottom)

    def filled(self, mask: Mask) -> MaskShape:
        """The shape's mask, with all that stands beside it."""
        return replace(self.like, mask=mask)

    def without_pixels(self) -> InputError:
        """What to say of a shape that covers no pixel of its frame."""
        return InputError(
            f"{_named(self.kind, self.like)} covers no pixel of its frame: draw it again in CVAT, "
            "or delete it."
        )


def find_prompts(
    export: Export, kinds: Collection[Kind], ignore_labels: Collection[str]
) -> list[Prompt]:
    """The shapes of `kinds` that no mask stands beside yet, in file order.

    A shape is passed over where its frame has a mask of the same label in the same place (their
    boxes overlap by half): so shapes of a result that came back from CVAT, with the masks that
    were made of them, do not count twice, and a mask that a human corrected stays.

    Raises InputError, which names frame and track, for a shape that cannot be read, or that covers
    no pixel.
    """
    if not kinds:
        return []
    found = [
        prompt
        for track in export.others()
        if track.label not in ignore_labels
        for prompt in _prompts(track, kinds)
    ]
    _require_pixels(found, export.meta.width, export.meta.height)
    frames = {prompt.like.frame for prompt in found}
    taken: dict[tuple[int, str], list[Mask]] = {}
    if frames:
        for shape in export.tracks():
            if isinstance(shape, MaskShape) and shape.frame in frames:
                taken.setdefault((shape.frame, shape.label), []).append(shape.mask)
    return [
        prompt
        for prompt in found
        if not any(
            _overlap(prompt.box, mask) >= _SAME_PLACE
            for mask in taken.get((prompt.like.frame, prompt.like.label), ())
        )
    ]


def frames_of(prompts: Collection[Prompt]) -> frozenset[int]:
    """The frames that shapes stand on."""
    return frozenset(prompt.like.frame for prompt in prompts)


def _prompts(track: OtherTrack, kinds: Collection[Kind]) -> Iterator[Prompt]:
    if not any(b"<" + kind.encode() + b" " in track.xml for kind in kinds):
        return
    depth = 0
    head: dict[str, str] = {}
    parser = etree.iterparse(
        io.BytesIO(track.xml),
        events=("start", "end"),
        resolve_entities=False,
        no_network=True,
        load_dtd=False,
    )
    for event, element in parser:
        if event == "start":
            depth += 1
            if depth == 1:
                head = dict(attributes(element))
            continue
        if depth == 2:  # deeper ones are a skeleton's
            if (
                element.tag in kinds
                and element.get("keyframe") == "1"
                and element.get("outside", "0") != "1"
            ):
                yield _prompt(head, element)
            free(element)
        depth -= 1


def _prompt(track: Mapping[str, str], element: etree._Element) -> Prompt:
    kind = Kind(element.tag)
    like = MaskShape(
        frame=int(element.get("frame", "")),  # the reader has looked at it
        label=track.get("label", ""),
        mask=Mask(0, 0, 1, 1, np.array([1], dtype=np.int32)),
        source=SOURCE,
        occluded=element.get("occluded") == "1",
        track=track.get("id", "?")[:40],
        attributes=tuple(
            (each.get("name", ""), each.text or "") for each in element if each.tag == "attribute"
        ),
    )
    try:
        like = replace(
            like,
            z_order=int(element.get("z_order", "0")),
            group_id=int(track.get("group_id", "0")),
        )
        points = _polygon(element) if kind is Kind.POLYGON else _rectangle(element)
    except ValueError as exc:
        raise InputError(
            f"{_named(kind, like)} {exc}: draw it again in CVAT, or delete it."
        ) from exc
    return Prompt(kind, points, like)


def _polygon(element: etree._Element) -> NDArray[np.float64]:
    pairs = [pair.split(",") for pair in element.get("points", "").split(";")]
    if len(pairs) < 3 or any(len(pair) != 2 for pair in pairs):
        raise ValueError("has no points that make a polygon")
    points = np.array([[_number(x), _number(y)] for x, y in pairs], dtype=np.float64)
    outline = np.abs(points - np.roll(points, 1, axis=0)).max(axis=1).sum()
    if outline > _LONGEST:
        raise ValueError(f"has an outline of more than {_LONGEST:,} pixels")
    return points


def _rectangle(element: etree._Element) -> NDArray[np.float64]:
    """The corners, clockwise; CVAT turns a rectangle round its middle, by degrees, clockwise."""
    left, top, right, bottom = (
        _number(element.get(name, "")) for name in ("xtl", "ytl", "xbr", "ybr")
    )
    corners = np.array(
        [(left, top), (right, top), (right, bottom), (left, bottom)], dtype=np.float64
    )
    angle = math.radians(_number(element.get("rotation", "0")))
    if angle == 0:
        return corners
    middle = corners.mean(axis=0)
    cos, sin = math.cos(angle), math.sin(angle)
    turned: NDArray[np.float64] = (corners - middle) @ np.array([[cos, sin], [-sin, cos]]) + middle
    return turned


def _number(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not abs(value) <= _FAR:
        raise ValueError(f'has "{text[:20]}" where a coordinate belongs')
    return value


def _require_pixels(prompts: Sequence[Prompt], width: int | None, height: int | None) -> None:
    for prompt in prompts:
        left, top, right, bottom = prompt.box
        wide = min(right, width or _FAR) - max(left, 0.0)
        high = min(bottom, height or _FAR) - max(top, 0.0)
        if wide <= 0 or high <= 0 or not _any_pixel(prompt, width, height):
            raise prompt.without_pixels()


def _any_pixel(prompt: Prompt, width: int | None, height: int | None) -> bool:
    """Whether a shape within the frame has a pixel; True where that cannot be said here.

    The frame's size may be known by its image alone, and a web host lacks pycocotools: there the
    worker refuses it.
    """
    if width is None or height is None or find_spec("pycocotools") is None:
        return True
    from cvat_io.polygons import has_pixels

    return has_pixels(prompt.points, height, width)


def _overlap(box: tuple[float, float, float, float], mask: Mask) -> float:
    """Intersection over union of a shape's box and a mask's."""
    mask = tight(mask) or mask
    left, top, right, bottom = box
    wide = min(right, mask.left + mask.width) - max(left, mask.left)
    high = min(bottom, mask.top + mask.height) - max(top, mask.top)
    common = max(wide, 0.0) * max(high, 0.0)
    both = (right - left) * (bottom - top) + mask.width * mask.height - common
    return common / both if both else 0.0


def _named(kind: Kind, like: MaskShape) -> str:
    what = "rectangle" if kind is Kind.BOX else "polygon"
    return f'The {what} "{like.label[:80]}" on frame {like.frame} (track {like.track})'
