"""What pages and programs see of layers: sets of masks over a job's frames.

A layer is named by a text: `run-3` is the published result of run 3, `run-3-forward` and
`run-3-backward` what one pass of it said, `revision-2` an export as it was uploaded, `session` the
present state of frame-by-frame work.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import IntEnum, StrEnum
from typing import Protocol

from jobs.views import NextFrameView

SESSION = "session"
"""The name of the layer that frame-by-frame work fills."""

MOST_FRAMES = 200
"""Frames whose masks one answer holds."""

FLAGGED = 0.5
"""Divergence of an object from which on its frame counts as flagged."""


class LayerKind(StrEnum):
    """Where a layer's masks come from."""

    RUN = "run"
    PASS = "pass"  # noqa: S105 - one sweep over a span
    REVISION = "revision"
    SESSION = "session"


class Presence(IntEnum):
    """What an object has on a frame: one byte of `LaneView.presence`."""

    ABSENT = 0
    COMPUTED = 1
    KEY = 2  # a person drew it
    CARRIED = 3  # taken over from the result before


@dataclass(frozen=True, slots=True, kw_only=True)
class LayerView:
    """One layer. `created`: when its masks were made or received, in seconds since the epoch."""

    name: str
    title: str
    created: float
    kind: LayerKind


@dataclass(frozen=True, slots=True, kw_only=True)
class LayerList:
    """All layers of a job. `default`: the one to show first; empty where there is none."""

    layers: tuple[LayerView, ...]
    default: str


@dataclass(frozen=True, slots=True, kw_only=True)
class FrameLabelView:
    """A label and its colour as `#rrggbb`; a label without one has been given one."""

    name: str
    color: str


@dataclass(frozen=True, slots=True, kw_only=True)
class FramesView:
    """The frames of a job: `first`, `first` + `step`, ... up to `last`, of `width` x `height`.

    `width`, `height` are 0 where neither the export's head nor an image says. `missing`: frames
    without an image, such as "12,40-60". `version`: of the images; give it as `v` and pictures may
    be kept for ever.
    """

    first: int
    last: int
    step: int
    width: int
    height: int
    missing: str
    version: str
    labels: tuple[FrameLabelView, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class MaskEntry:
    """One mask. `box`: left, top, width, height in pixels; `runs`: run lengths inside the box.

    Runs go row by row and alternate, the first one of zeros: "0,3,10,2" begins with a set pixel.
    `object` is 0 where it is not known which one the mask shows. `score`: divergence in [0, 1],
    and `why` what speaks most against the mask; both are left out (None, empty) where not known.
    `z`: masks with a larger one lie above.
    """

    object: int
    label: str
    box: tuple[int, int, int, int]
    runs: str
    score: float | None = None
    why: str = ""
    occluded: bool = False
    z: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class FrameEntry:
    """One frame. `key`: whether a person made its masks; `masks`: the lowest one first."""

    frame: int
    key: bool
    masks: tuple[MaskEntry, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class LaneView:
    """One object over all frames, or all masks of a label of which no object is known (0).

    `presence`, `scores`: one byte for each frame, in base64. `presence`: 0 absent, 1 computed, 2 a
    person's, 3 carried over. `scores`: round(divergence * 254), 255 where it is not known.
    """

    object: int
    label: str
    color: str
    presence: str
    scores: str


@dataclass(frozen=True, slots=True, kw_only=True)
class WorstView:
    """A frame that is worth a correction. Fields as in `NextFrameView`.

    `repairs` counts on all frames before it in the list being corrected too.
    """

    frame: int
    object: int
    label: str
    score: float
    why: str
    reason: str
    repairs: float


@dataclass(frozen=True, slots=True, kw_only=True)
class TimelineView:
    """A layer at a glance. `count`: how many frames there are from `first` to `last`.

    `key_frames`: ascending. `worst`: which frames to correct, the most rewarding one first.
    `next`: the first of them with more about it. `flagged`: frames on which the divergence of an
    object is 0.5 or more.
    """

    first: int
    last: int
    step: int
    count: int
    key_frames: tuple[int, ...]
    objects: tuple[LaneView, ...]
    worst: tuple[WorstView, ...]
    next: NextFrameView | None
    flagged: int


@dataclass(frozen=True, slots=True, kw_only=True)
class ObjectDifference:
    """What differs of one object. `kind`: "added", "removed" or "changed" from layer a to b.

    `frames` such as "7,9-12". `iou`: of changed masks, the mean over their frames (over 50 of them,
    spread evenly, where they are more); None for other kinds.
    """

    object: int
    label: str
    kind: str
    frames: str
    iou: float | None


@dataclass(frozen=True, slots=True, kw_only=True)
class DifferencesView:
    """How two layers differ. `frames`: those that do, as text; `same`: how many do not."""

    frames: str
    objects: tuple[ObjectDifference, ...]
    same: int


class LiveLayer(Protocol):
    """What frame-by-frame work shows as the layer `session`."""

    @property
    def view(self) -> LayerView:
        """Its name, title, time and kind."""
        ...

    @property
    def pending(self) -> bool:
        """Whether it holds changes that were not accepted yet."""
        ...

    @property
    def version(self) -> str:
        """A text that changes with every change."""
        ...

    def entries(self, frames: Sequence[int]) -> Sequence[FrameEntry]:
        """One entry for each of `frames`, which ascend."""
        ...

    def timeline(self) -> TimelineView:
        """All of it at a glance; see `jobs.timeline`."""
        ...
