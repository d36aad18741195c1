"""How good a result is, against the clip's exact masks."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from config import Limits
from cvat_io.masks import paint
from cvat_io.model import MaskShape
from cvat_io.reader import open_export
from demo.clip import Clip
from tracker.identity import iou_table, match


@dataclass(frozen=True, slots=True)
class Score:
    """`mean_iou`: over all objects of all frames that are no key frames, in [0, 1].

    A true object without a mask and a mask without a true object count 0 each.
    `worst_frame`: where the mean over its objects is lowest, `worst_iou`.
    """

    frames: int
    frames_covered: int
    objects: int
    mean_iou: float
    worst_frame: int
    worst_iou: float


def score_result(result: Path, clip: Clip, key_frames: tuple[int, ...]) -> Score:
    """Compare a result's masks with the truth; masks and objects are paired by label and IoU."""
    by_frame: dict[int, list[MaskShape]] = {}
    with open_export(result, Limits()) as export:
        for track in export.tracks():
            if isinstance(track, MaskShape):
                by_frame.setdefault(track.frame, []).append(track)
    values: list[float] = []
    worst = (1.0, 0)
    seen: set[int] = set()
    for frame, (_, truth) in enumerate(clip):
        present = [int(n) for n in np.unique(truth) if n]
        seen.update(present)
        if frame in key_frames:
            continue
        shapes = by_frame.get(frame, [])
        found = np.zeros(truth.shape, np.uint16)
        for number, shape in enumerate(shapes, start=1):
            paint(shape.mask, found, number)
        pairs = match(
            found,
            truth,
            predicted_kinds={i: shape.label for i, shape in enumerate(shapes, start=1)},
            drawn_kinds={number: clip.objects[number] for number in present},
            predicted_names={},
            drawn_names={},
        )
        here = [0.0] * (len(present) + len(shapes) - 2 * len(pairs))
        if pairs:
            table = iou_table(truth, list(pairs), found, list(pairs.values()))
            here.extend(float(v) for v in np.diagonal(table))
        if here:
            worst = min(worst, (float(np.mean(here)), frame))
        values.extend(here)
    return Score(
        frames=len(clip),
        frames_covered=len(by_frame),
        objects=len(seen),
        mean_iou=float(np.mean(values)) if values else 0.0,
        worst_frame=worst[1],
        worst_iou=worst[0],
    )
