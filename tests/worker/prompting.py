"""Exports whose key frames hold shapes in place of masks, and runs of them."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from config import Limits, Settings
from cvat_io.reader import open_export
from jobs.options import RunOptions
from jobs.plan import RunInputs
from tests.helpers.clips import Clip
from tests.helpers.shapes import box, polygon, square, track
from worker.local import track as relay_track

SETTINGS = Settings(ignore_labels=frozenset({"HUD"}))
SIDE = 12  # of the clip's squares


def corner(clip: Clip, number: int, index: int) -> tuple[int, int]:
    rows, columns = np.nonzero(clip.maps[index] == number)
    return int(columns.min()), int(rows.min())


def outlined(clip: Clip, *indices: int, number: int = 1) -> str:
    """A track with a polygon round an object on some images, as a human would draw it."""
    shapes = [polygon(square(*corner(clip, number, i), SIDE), i) for i in indices]
    return track(90 + number, clip.kinds[number], *shapes)


def boxed(clip: Clip, *indices: int, number: int = 2) -> str:
    shapes = []
    for index in indices:
        x, y = corner(clip, number, index)
        shapes.append(box((x, y, x + SIDE, y + SIDE), index))
    return track(90 + number, clip.kinds[number], *shapes)


def run(export: Path, out: Path, previous: Path | None = None, **options):
    options.setdefault("engine", "flow")
    return relay_track(
        export, out, options=RunOptions(**options), settings=SETTINGS, previous=previous
    )


def others(path: Path) -> list[bytes]:
    with open_export(path, Limits()) as export:
        return [other.xml for other in export.others()]


def inputs_of(export: Path, **options) -> RunInputs:
    return RunInputs(
        annotations=export,
        images=export,
        previous=None,
        options=RunOptions(engine="flow", **options),
        engine="flow",
        ignore_labels=SETTINGS.ignore_labels,
        limits=SETTINGS.limits,
    )
