"""The sample export: the procedural clip as CVAT would export it, with two key frames."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np

from cvat_io.build import write_export
from cvat_io.masks import encode_labels
from cvat_io.model import Label, MaskShape
from demo.clip import Clip, make_clip

NAME = "sample.zip"
KEY_FRAMES = (0, 30)
LABELS = (Label("ball", "#ff2fd0", "mask"), Label("box", "#ffe000", "mask"))


def write_sample(path: Path, clip: Clip | None = None) -> Clip:
    """Write the sample export to `path` (atomically) and return the clip with its exact masks.

    60 frames, 2 labels, masks on the key frames only; the same bytes every time.
    """
    clip = make_clip() if clip is None else clip
    key_frames = [k for k in KEY_FRAMES if k < len(clip)]
    write_export(
        path,
        frames=((i, _png(image)) for i, (image, _) in enumerate(clip)),
        width=clip.width,
        height=clip.height,
        labels=LABELS,
        masks=[shape for k in key_frames for shape in exact_masks(clip, k)],
        stop_frame=len(clip) - 1,
    )
    return clip


def exact_masks(clip: Clip, index: int) -> list[MaskShape]:
    """The true masks of one frame, one for each visible object."""
    _, labels = clip.frame(index)
    return [
        MaskShape(frame=index, label=clip.objects[number], mask=mask)
        for number, mask in encode_labels(labels).items()
    ]


def _png(image: np.ndarray[tuple[int, ...], np.dtype[np.uint8]]) -> bytes:
    ok, encoded = cv2.imencode(".png", cv2.cvtColor(image, cv2.COLOR_RGB2BGR))
    if not ok:
        raise RuntimeError("OpenCV could not write a PNG")
    return encoded.tobytes()
