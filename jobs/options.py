"""What a run may be asked for: its options, each with what it means."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

from errors import InputError


class Mode(StrEnum):
    """What a run does with the masks of its export."""

    INITIAL = "initial"  # every annotated frame is a key frame; fill all others
    RESEGMENT = "resegment"  # recompute only what a changed key frame touches
    PANEL = "panel"  # of results that a person accepted frame by frame; none is started so


class Direction(StrEnum):
    """Which passes fill a span."""

    BOTH = "both"
    FORWARD = "forward"


class KeyFrames(StrEnum):
    """What it means that a key frame lacks an object."""

    COMPLETE = "complete"  # the object is gone from there on, until a human draws it again
    PARTIAL = "partial"  # the human only looked at some objects: the others go on through it


class Prompts(StrEnum):
    """Which of a human's shapes are turned into masks of key frames."""

    OFF = "off"
    BOXES = "boxes"  # a segmenter finds what a rectangle holds
    POLYGONS = "polygons"  # to the pixel as CVAT itself would
    BOTH = "boxes,polygons"


class MemoryKeeps(StrEnum):
    """Which frames stay when an engine's long-term memory is full."""

    KEY_FRAMES = "key-frames"  # those with given masks; of the others the newest
    NEWEST = "newest"  # as the published networks do it: in the end the key frame goes too


class Priority(StrEnum):
    """Which run is served first when workers are scarce."""

    LOW = "low"
    NORMAL = "normal"
    HIGH = "high"
    INTERACTIVE = "interactive"  # somebody sits in front of it and waits

    @property
    def rank(self) -> int:
        """0 and up; the smaller, the earlier."""
        return {"interactive": 0, "high": 1, "normal": 2, "low": 3}[self.value]


BUILTIN_SEGMENTER = "builtin"  # which needs no weights
MOST_MEMORY = 9999  # frames
MOST_SEED = 2**32 - 1
MOST_CLEANED = 1_000_000  # pixels of a speck or a hole


@dataclass(frozen=True, slots=True, kw_only=True)
class RunOptions:
    """What a person chooses when starting a run.

    `frames`: as typed, such as "12,40-60" (absolute frame numbers); empty means all. In an initial
    run: the frames to fill. In a re-segmentation: frames that a person corrected, in addition to
    those that differ from the previous result.
    `parallel_spans`: most spans of this run computed at once, 0 for no limit.
    `reuse_previous`: take from the previous result what the export lacks.
    `delete_zip`: delete the archive in the downloads folder once the result is published.
    `seed`: of the random numbers that an engine draws while it learns, 0 to `MOST_SEED`.
    `priority`: which run is served first when workers are scarce.
    `prompts`: shapes that are turned into masks first, where no mask is drawn; their frames are
    then key frames.
    `segmenter`: what finds the object in a rectangle: "builtin", or one with published weights.
    `memory_frames`, `memory_gap`, `memory_keeps`: of engines that remember frames for long: how
    many of them at most for each ten objects, and every how many frames one is added (0: as the
    engine is made), and which frames stay when it is full.
    `refine`: where both passes of a fused span doubt an object, the segmenter, which then is not
    "builtin", looks at the frame again.
    `stop_at_divergence`: in (0, 1]: from the first frame whose divergence reaches it an object's
    masks are left out, as far as that pass goes; 0: never.
    `min_speck`, `min_hole`: of the masks that are made, pieces of fewer pixels are removed, and
    holes of fewer pixels are filled, up to `MOST_CLEANED`; 0: none. A human's masks stay as drawn.
    """

    mode: Mode = Mode.INITIAL
    engine: str = "auto"
    frames: str = ""
    direction: Direction = Direction.BOTH
    keyframes: KeyFrames = KeyFrames.COMPLETE
    parallel_spans: int = 0
    reuse_previous: bool = False
    delete_zip: bool = False
    seed: int = 0
    priority: Priority = Priority.NORMAL
    prompts: Prompts = Prompts.OFF
    segmenter: str = BUILTIN_SEGMENTER
    memory_frames: int = 0
    memory_gap: int = 0
    memory_keeps: MemoryKeeps = MemoryKeeps.KEY_FRAMES
    refine: bool = False
    stop_at_divergence: float = 0.0
    min_speck: int = 0
    min_hole: int = 0


def require_fit(options: RunOptions) -> None:
    """Raise InputError for options that cannot be used, or not together, with whatever export."""
    if options.mode is Mode.PANEL:
        raise InputError(
            "A run of the mode panel is made by accepting frames in a job's panel: start one with "
            "the mode initial or resegment."
        )
    if not 0 <= options.seed <= MOST_SEED:
        raise InputError(
            f"The seed {options.seed} cannot be used: give a whole number from 0 to {MOST_SEED}."
        )
    if not 0 <= options.stop_at_divergence <= 1:
        raise InputError(
            f"Stopping at divergence {options.stop_at_divergence:g} cannot be: give a number above "
            "0 and up to 1, such as 0.5, or 0 to stop nowhere."
        )
    for name, pixels in (("min-speck", options.min_speck), ("min-hole", options.min_hole)):
        if not 0 <= pixels <= MOST_CLEANED:
            raise InputError(
                f"The option {name} cannot be {pixels}: give a number of pixels from 0 (nothing is "
                f"cleaned) to {MOST_CLEANED}."
            )
    if options.prompts is not Prompts.OFF and options.reuse_previous:
        raise InputError(
            "Masks are either reused from the previous result or made of rectangles and polygons "
            "where the export lacks them: switch one of both off."
        )
    if options.refine and options.segmenter == BUILTIN_SEGMENTER:
        raise InputError(
            "Looking again at doubtful frames ('refine') needs a segmenter with published weights, "
            "since the built-in one was measured to make masks worse: name another segmenter, one "
            "that `relay models` says makes masks."
        )


def require_previous(options: RunOptions, previous: Path | None) -> None:
    """Raise InputError for a previous result that would do nothing."""
    if previous is not None and options.mode is Mode.INITIAL:
        raise InputError(
            "An initial run takes nothing from a previous result: leave --previous out, or say "
            "--mode resegment."
        )
