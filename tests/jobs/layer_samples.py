"""Results as small archives, and the layers that are made of them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from config import Limits
from cvat_io.build import write_export
from cvat_io.lineage import Lineage
from cvat_io.masks import encode
from cvat_io.model import Label, Mask, MaskShape
from cvat_io.reader import open_export
from cvat_io.result import write_result
from jobs.layer_build import LayerSource, build_layer
from jobs.layer_file import LayerFile

WIDTH, HEIGHT, LAST = 40, 30, 9
LABELS = (Label("car", "#3d9be0", "mask"), Label("road", "#ff6a3d", "mask"))


def box(left: int, top: int, width: int = 6, height: int = 5) -> Mask:
    mask = encode(np.ones((height, width), bool), left, top)
    assert mask is not None
    return mask


def shape(frame: int, mask: Mask, label: str = "car", **more: object) -> MaskShape:
    return MaskShape(frame=frame, label=label, mask=mask, **more)


def export(path: Path, masks: Sequence[MaskShape]) -> Path:
    write_export(
        path,
        frames=(),
        width=WIDTH,
        height=HEIGHT,
        labels=LABELS,
        masks=masks,
        stop_frame=LAST,
        with_images=False,
    )
    return path


def result(path: Path, masks: Sequence[tuple[MaskShape, int]], keys: str = "0") -> Path:
    """A result with these masks, in ascending order of frames, and their objects."""
    source = export(path.with_suffix(".export.zip"), [masks[0][0]])
    with open_export(source, Limits()) as opened:
        lineage = Lineage.behind((), max(number for _, number in masks), opened.meta.frames)
        note = {"key_frames": keys, **lineage.note()}
        write_result(path, opened, lineage.numbered(masks), note, keep_ids=True)
    return path


def layer(archive: Path, **source: object) -> LayerFile:
    """The layer that is made of an archive; `source`: further fields of LayerSource."""
    path = archive.with_suffix(".layer")
    with path.open("w+b") as file:
        build_layer(LayerSource(annotations=archive, **source), file, Limits())
    return LayerFile(path)
