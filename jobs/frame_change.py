"""What `jobs.compare` finds on a frame: how masks changed, and what could be taken in two ways."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from enum import StrEnum

Names = Mapping[tuple[str, str], int]
"""Label and name -> the one object that bears it: in the previous result, or by what was found."""


class ChangeKind(StrEnum):
    """What happened to a mask."""

    ADDED = "added"
    EDITED = "edited"  # other pixels
    MOVED = "moved"  # to another label
    ATTRIBUTES = "attributes"  # other values of attributes, same pixels
    DELETED = "deleted"
    PLACED = "placed"  # occluded or z_order alone: kept, and nothing is computed for it


@dataclass(frozen=True, slots=True)
class MaskChange:
    """One mask that is not as it was. `was`: the label before, of one that moved."""

    frame: int
    kind: ChangeKind
    label: str
    was: str = ""


@dataclass(frozen=True, slots=True)
class Conflict:
    """What could be taken in two ways. `sentence` says how it is taken."""

    frame: int
    sentence: str


@dataclass(frozen=True, slots=True, kw_only=True)
class FrameChange:
    """One frame compared. `objects`: of each mask of now, in file order; 0 for a new object.

    `shown`: these objects but for new ones, and their labels; `new_labels`: those of new ones.
    `touched`: objects of the previous result whose mask differs, is new or is gone here.
    `below`: objects whose mask is as it was, and under one that a person drew here.
    `named`: objects by the names that their masks bear now where they differ.
    """

    objects: tuple[int, ...]
    shown: Mapping[int, str]
    new_labels: frozenset[str]
    touched: frozenset[int]
    below: frozenset[int]
    named: Names
    changes: tuple[MaskChange, ...]
    conflicts: tuple[Conflict, ...]


def changes_of(found: Mapping[int, FrameChange]) -> Iterator[MaskChange]:
    """All changes of compared frames, ascending by frame."""
    for frame in sorted(found):
        yield from found[frame].changes
