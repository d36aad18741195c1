"""Round trips in tests: a run, what CVAT gives back of its result, and what results say."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

from config import Limits, Settings
from cvat_io.lineage import Lineage
from cvat_io.masks import decode, encode
from cvat_io.model import MaskShape
from cvat_io.reader import open_export
from cvat_io.result import read_note, write_result
from jobs.frames_text import parse_frames
from jobs.options import Mode, RunOptions
from jobs.plan import Drafted, RunInputs, draft
from jobs.report import Report
from tests.helpers.clips import masks_by_frame
from worker.local import track

LIMITS = Limits()
SETTINGS = Settings(ignore_labels=frozenset({"HUD"}))


def run(
    export: Path,
    out: Path,
    *,
    previous: Path | None = None,
    images: Path | None = None,
    report: Path | None = None,
    **options: Any,
) -> Report:
    """`relay track` with the engine that learns nothing."""
    return track(
        export,
        out,
        options=RunOptions(engine="flow", **options),
        settings=SETTINGS,
        previous=previous,
        images=images,
        report=report,
    )


def plan_of(export: Path, previous: Path, *, images: Path | None = None, **options: Any) -> Drafted:
    """The plan of a re-segmentation."""
    return draft(
        RunInputs(
            annotations=export,
            images=images or export,
            previous=previous,
            options=RunOptions(mode=Mode.RESEGMENT, engine="flow", **options),
            engine="flow",
            ignore_labels=SETTINGS.ignore_labels,
            limits=LIMITS,
        )
    )


def exported(result: Path) -> dict[int, list[MaskShape]]:
    """The masks of a result as CVAT gives them back: all manual, groups and ids forgotten."""
    return {
        frame: [replace(shape, source="manual", group_id=0, track="") for shape in shapes]
        for frame, shapes in masks_by_frame(result).items()
    }


def key_frames(result: Path) -> list[int]:
    """Which frames a result says are a human's."""
    note = read_note(result)
    assert note is not None
    return list(parse_frames(str(note["key_frames"]), range(10**6)))


def objects_by_frame(result: Path) -> dict[int, dict[int, MaskShape]]:
    """The masks of a result by frame and object."""
    found: dict[int, dict[int, MaskShape]] = {}
    with open_export(result, LIMITS) as archive:
        lineage = Lineage.of(archive)
        for shape in archive.tracks():
            if isinstance(shape, MaskShape):
                found.setdefault(shape.frame, {})[lineage.object_of(shape)] = shape
    return found


def roughened(result: Path, out: Path) -> Path:
    """The same result with a row of pixels cut off each mask of ours.

    So a mask that stays can be told from one that is made anew.
    """
    note = read_note(result)
    assert note is not None
    note.pop("mask_relay")
    shapes = [shape for _, masks in sorted(masks_by_frame(result).items()) for shape in masks]
    with open_export(result, LIMITS) as archive:
        write_result(out, archive, map(_shorter, shapes), note, keep_ids=True)
    return out


def _shorter(shape: MaskShape) -> MaskShape:
    pixels = decode(shape.mask)
    less = encode(pixels[:-1], shape.mask.left, shape.mask.top) if shape.source == "auto" else None
    return shape if less is None else replace(shape, mask=less)
