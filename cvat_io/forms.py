"""The forms in which a result can be had, and what may be asked of each."""

from __future__ import annotations

from enum import StrEnum

TOLERANCE = 1.5  # pixels; of polygons, where nothing is said
MOST_TOLERANCE = 100.0
MOST_MEGABYTES = 1_000_000  # of one part


class Form(StrEnum):
    """What a result is written as."""

    CVAT = "cvat"  # as it is, or in parts
    COCO = "coco"
    MASKS = "masks"  # one indexed PNG a frame
    POLYGONS = "polygons"  # one CVAT track for each object
    OVERLAY = "overlay"  # a video to look at

    @property
    def suffix(self) -> str:
        """The ending of its file."""
        return ".mp4" if self is Form.OVERLAY else ".zip"

    @property
    def needs_images(self) -> bool:
        """Whether the export with the images is needed beside the result."""
        return self in (Form.COCO, Form.MASKS, Form.OVERLAY)
