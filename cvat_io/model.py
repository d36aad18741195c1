"""What an export holds, as plain immutable data.

Names and rules follow "CVAT for video 1.1". Frame numbers are CVAT's own: absolute source frames.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum

import numpy as np
from numpy.typing import NDArray

RunLengths = NDArray[np.int32]
"""Lengths of alternating runs, row by row in a mask's box, the first one of zeros (may be 0)."""


@dataclass(frozen=True, slots=True, eq=False)
class Mask:
    """A binary mask as CVAT stores it: a box in image pixels and run lengths inside it.

    `left`, `top` >= 0; `width`, `height` >= 1; the runs add up to exactly width * height.
    The box need not be tight and a trailing run of zeros may be present (real CVAT files have
    both). Compare pixels with `cvat_io.masks.same_pixels`.
    """

    left: int
    top: int
    width: int
    height: int
    runs: RunLengths


@dataclass(frozen=True, slots=True)
class LabelAttribute:
    """One attribute that a label defines."""

    name: str
    mutable: bool
    input_type: str
    default_value: str
    values: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Label:
    """A class of objects. `color` is `#rrggbb` or empty; `parent` names a skeleton's label."""

    name: str
    color: str
    type: str
    attributes: tuple[LabelAttribute, ...] = ()
    parent: str | None = None


@dataclass(frozen=True, slots=True, eq=False)
class MaskShape:
    """One mask on one frame, with all that CVAT keeps beside it.

    `track` is the track's id in the file it was read from (only good for messages: CVAT numbers
    tracks anew at every export). `attributes` are (name, value) pairs in file order.
    """

    frame: int
    label: str
    mask: Mask
    source: str = "manual"
    occluded: bool = False
    z_order: int = 0
    group_id: int = 0
    attributes: tuple[tuple[str, str], ...] = ()
    track: str = ""


@dataclass(frozen=True, slots=True)
class OtherTrack:
    """A track without masks, kept verbatim: `xml` is the element as UTF-8 bytes."""

    label: str
    kind: str  # tag of its first shape: box, polygon, polyline, points, ellipse, cuboid, skeleton
    frames: tuple[int, ...]  # frames of its shapes, in file order
    xml: bytes = field(repr=False)


class ExportKind(StrEnum):
    """Which of CVAT's two exports that we follow it is."""

    JOB = "job"
    TASK = "task"


@dataclass(frozen=True, slots=True)
class Meta:
    """The head of an export. `xml` is the whole <meta> element as UTF-8 bytes, for the result.

    `size` is the number of frames as CVAT states it; `frames` are the absolute numbers of the
    valid frames: start_frame, start_frame + step, ... <= stop_frame.
    `width`, `height` are None where the file does not say (image-list tasks).
    """

    kind: ExportKind
    id: str
    name: str  # the task's name; empty for a job
    mode: str  # "interpolation" (video) or "annotation" (image list)
    size: int
    start_frame: int
    stop_frame: int
    step: int
    overlap: int
    segments: int
    labels: tuple[Label, ...]
    width: int | None
    height: int | None
    source: str  # the video's file name; empty where the file does not say
    xml: bytes = field(repr=False)

    @property
    def frames(self) -> range:
        """Absolute numbers of all frames, ascending."""
        return range(self.start_frame, self.stop_frame + 1, self.step)
