"""What tests of written results share: an export with a box, and masks for it."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np

from cvat_io.model import Mask, MaskShape
from cvat_io.reader import Export
from tests.cvat_io.cvat_samples import document, job

BOX = (
    '<track id="41" label="car" source="manual">\n    '
    '<box frame="1" keyframe="1" outside="0" occluded="0" xtl="1.00" ytl="1.00" xbr="2.00" '
    'ybr="2.00" z_order="0">\n    </box>\n  </track>'
)


def some_mask(left: int = 3) -> Mask:
    """A mask of 4 pixels."""
    return Mask(left, 4, 3, 2, np.array([1, 2, 1, 2], dtype=np.int32))


def shape(frame: int, **values: object) -> MaskShape:
    """That mask on a frame."""
    return replace(MaskShape(frame, "car", some_mask()), **values)


def export_file(folder: Path, *parts: str, meta: str | None = None) -> Path:
    """A bare XML of a job and these tracks."""
    path = folder / "export.xml"
    path.write_bytes(document(meta or job(), *parts))
    return path


def human(export: Export) -> list[MaskShape]:
    """All masks of an export, by frame."""
    drawn = [each for each in export.tracks() if isinstance(each, MaskShape)]
    return sorted(drawn, key=lambda each: each.frame)
