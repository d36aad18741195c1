"""The options of a run on the command line: the same for all verbs that plan or start one."""

from __future__ import annotations

import argparse
from collections.abc import Callable

from errors import one_line
from jobs.options import MOST_CLEANED, MOST_MEMORY, MOST_SEED, MemoryKeeps, Prompts


def add_run_options(parser: argparse.ArgumentParser) -> None:
    """Add what `relay track`, `submit` and `check` have in common."""
    parser.add_argument(
        "--engine", default="", help="see `relay models` (default: ENGINE, else auto)"
    )
    parser.add_argument(
        "--mode",
        choices=("initial", "resegment"),
        default="initial",
        help="initial: every annotated frame is a key frame, fill all others; "
        "resegment: recompute only what corrected frames touch (default: initial)",
    )
    parser.add_argument(
        "--frames",
        default="",
        metavar='"12,40-60"',
        help="initial: fill only these frames; "
        "resegment: frames that you corrected, besides those that differ from the previous result",
    )
    parser.add_argument(
        "--direction",
        choices=("both", "forward"),
        default="both",
        help="both: passes from both key frames of a gap are fused, and frames before the first "
        "key frame are filled too (default: both)",
    )
    parser.add_argument(
        "--keyframes",
        choices=("complete", "partial"),
        default="complete",
        help="complete: an object that a key frame lacks is gone from there until it is drawn "
        "again; partial: it goes on through (default: complete)",
    )
    parser.add_argument(
        "--prompts",
        choices=tuple(str(kind) for kind in Prompts),
        default=Prompts.OFF,
        metavar="KIND",
        help="off, polygons, boxes, or both as boxes,polygons: turn rectangles or polygons that "
        "you drew into masks, where no mask is drawn; their frames are then key frames (default: "
        "off)",
    )
    parser.add_argument(
        "--segmenter",
        default="builtin",
        metavar="NAME",
        help="what finds the object in a rectangle, see `relay models` (default: builtin)",
    )
    parser.add_argument(
        "--refine",
        action="store_true",
        help="look again at doubtful frames between two key frames with the segmenter, which must "
        "be one with published weights",
    )
    parser.add_argument(
        "--stop-at-divergence",
        type=_share,
        default=0.0,
        metavar="X",
        help="0 to 1: leave an object out from the first frame on whose divergence (expected 1 - "
        "IoU) reaches X, up to the next key frame (default: 0, never)",
    )
    for option, what in (
        ("--min-speck", "remove pieces of masks with fewer than N pixels"),
        ("--min-hole", "fill holes of masks with fewer than N pixels"),
    ):
        parser.add_argument(
            option,
            type=whole(MOST_CLEANED),
            default=0,
            metavar="N",
            help=f"{what}; masks that you drew stay as they are (default: 0, none)",
        )
    parser.add_argument(
        "--memory-frames",
        type=whole(MOST_MEMORY),
        default=0,
        metavar="N",
        help="deaot engines: frames to remember for long at most, for each ten objects (default: "
        "0, as the engine is made: 8)",
    )
    parser.add_argument(
        "--memory-gap",
        type=whole(MOST_MEMORY),
        default=0,
        metavar="N",
        help="deaot engines: remember every N-th frame for long (default: 0, as it is made)",
    )
    parser.add_argument(
        "--memory-keeps",
        choices=tuple(str(kind) for kind in MemoryKeeps),
        default=MemoryKeeps.KEY_FRAMES,
        help="deaot engines: which frames stay when the memory is full (default: key-frames)",
    )
    parser.add_argument(
        "--seed",
        type=whole(MOST_SEED),
        default=0,
        metavar="N",
        help="of the random numbers that an engine draws while it learns (default: 0)",
    )


def whole(most: int, least: int = 0) -> Callable[[str], int]:
    """A reader of whole numbers from `least` to `most`."""

    def read(raw: str) -> int:
        try:
            number = int(raw)
        except ValueError:
            number = -1
        if not least <= number <= most:
            raise argparse.ArgumentTypeError(
                f"{one_line(raw, 40)!r} cannot be used: give a whole number from {least} to {most}"
            )
        return number

    return read


def _share(text: str) -> float:
    """A number from 0 to 1."""
    try:
        value = float(text)
    except ValueError:
        value = -1.0
    if not 0 <= value <= 1:
        raise argparse.ArgumentTypeError(
            f"{one_line(text, 40)!r} cannot be used: give a number from 0 to 1"
        )
    return value
