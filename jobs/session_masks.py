"""Masks of a live session: as its rows keep them, and as clients send and get them."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Any

from cvat_io.masks import format_rle, parse_rle, tight
from cvat_io.model import Mask, MaskShape
from errors import InputError, one_line

IGNORED = 0  # the number of what is not followed: masks with an ignored label


class Origin(StrEnum):
    """Who says what an object's mask on a frame is."""

    BASE = "base"  # the archive that the session began from
    HUMAN = "human"
    COMPUTED = "computed"
    NONE = "none"  # nobody: what was computed is forgotten


@dataclass(frozen=True, slots=True, eq=False)
class Shown:
    """One object's mask on one frame.

    `score`, `why`: divergence in [0, 1] and what speaks most against the mask; None and "" where
    nothing is known. `version`: of the change that made it; 0 in the base.
    """

    number: int
    shape: MaskShape
    score: float | None = None
    why: str = ""
    origin: Origin = Origin.BASE
    version: int = 0

    @property
    def mask(self) -> Mask:
        """Its pixels."""
        return self.shape.mask

    def with_mask(self, mask: Mask) -> Shown:
        """The same object with other pixels, about which nothing is known."""
        return replace(self, shape=replace(self.shape, mask=mask), score=None, why="")


def pack(shape: MaskShape, score: float | None = None, why: str = "") -> str:
    """A mask as the text of a row."""
    return json.dumps(to_dict(shape, score, why), separators=(",", ":"), ensure_ascii=False)


def to_dict(shape: MaskShape, score: float | None = None, why: str = "") -> dict[str, Any]:
    """A mask as JSON data; what is as usual is left out."""
    mask = shape.mask
    data: dict[str, Any] = {
        "box": [mask.left, mask.top, mask.width, mask.height],
        "runs": runs_text(mask),
        "label": shape.label,
    }
    if shape.source != "manual":
        data["source"] = shape.source
    if shape.occluded:
        data["occluded"] = True
    if shape.z_order:
        data["z"] = shape.z_order
    if shape.group_id:
        data["group"] = shape.group_id
    if shape.attributes:
        data["attributes"] = [list(pair) for pair in shape.attributes]
    if score is not None:
        data["score"], data["why"] = round(score, 4), why
    return data


def unpack(
    text: str, number: int, frame: int, origin: Origin = Origin.BASE, version: int = 0
) -> Shown:
    """The mask of a row; `text` is what `pack` wrote."""
    return from_dict(json.loads(text), number, frame, origin, version)


def from_dict(
    data: Mapping[str, Any],
    number: int,
    frame: int,
    origin: Origin = Origin.BASE,
    version: int = 0,
) -> Shown:
    """The mask that `to_dict` wrote."""
    left, top, width, height = data["box"]
    runs = parse_rle(data["runs"].replace(",", ", "), width * height)
    shape = MaskShape(
        frame=frame,
        label=data["label"],
        mask=Mask(left, top, width, height, runs),
        source=data.get("source", "manual"),
        occluded=data.get("occluded", False),
        z_order=data.get("z", 0),
        group_id=data.get("group", 0),
        attributes=tuple((name, value) for name, value in data.get("attributes", ())),
    )
    return Shown(number, shape, data.get("score"), data.get("why", ""), origin, version)


def runs_text(mask: Mask) -> str:
    """Run lengths without blanks."""
    return format_rle(mask.runs).replace(" ", "")


def answer_of(shown: Shown, *, key: bool) -> dict[str, Any]:
    """A mask as clients get it; divergence is not told of a person's masks."""
    mask = shown.mask
    data: dict[str, Any] = {
        "object": shown.number,
        "label": shown.shape.label,
        "box": [mask.left, mask.top, mask.width, mask.height],
        "runs": runs_text(mask),
        "occluded": shown.shape.occluded,
        "z": shown.shape.z_order,
    }
    if shown.score is not None and not key:
        data["score"], data["why"] = shown.score, shown.why
    return data


def mask_from(given: Mapping[str, Any], width: int, height: int) -> Mask:
    """The canonical mask that a client sent as `box` and `runs`, for frames of that size.

    Raises InputError for what is no such mask, holds no pixel or reaches out of the frame.
    """
    box, runs = given.get("box"), given.get("runs")
    if (
        not isinstance(box, Sequence)
        or isinstance(box, str)
        or len(box) != 4
        or any(type(number) is not int for number in box)
    ):
        shown = one_line(repr(box), 60)
        raise InputError(f"The box {shown} of a mask cannot be: give [left, top, width, height].")
    left, top, wide, high = box
    if left < 0 or top < 0 or wide < 1 or high < 1 or left + wide > width or top + high > height:
        raise InputError(
            f"The box {box} of a mask reaches out of the frame of {width} x {height} pixels: give "
            "[left, top, width, height] inside it."
        )
    if not isinstance(runs, str):
        raise InputError('The runs of a mask are a text of numbers, such as "0,4,8,4": give one.')
    if runs.count(",") > 2 * wide * high:
        raise InputError(
            f"A mask has more run lengths than its box of {wide} x {high} pixels can need: give "
            "those of the pixels inside it."
        )
    try:
        numbers = parse_rle(runs.replace(" ", "").replace(",", ", "), wide * high)
    except ValueError as exc:
        raise InputError(
            f"The runs of a mask {exc}: give alternating run lengths in its box, the first of "
            "zeros."
        ) from exc
    mask = tight(Mask(left, top, wide, high, numbers))
    if mask is None:
        raise InputError("A mask has no pixel: to take an object off the frame give mask: null.")
    return mask
