"""An InteractionFunction: clicks become the mask that they mean."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import cvat_sdk.auto_annotation as cvataa
import cvat_sdk.models
import numpy as np
from cvat_sdk.masks import encode_mask
from numpy.typing import NDArray

from cvat_native.shapes import Frame

if TYPE_CHECKING:
    from PIL.Image import Image as Picture

    from tracker.segmenters.protocol import Segmenter


class Interactor:
    """An InteractionFunction: clicks, and a box where there is one, become the mask they mean."""

    spec = cvataa.InteractionFunctionSpec(min_pos_points=1, min_neg_points=0, min_bounding_boxes=0)

    def __init__(self, segmenter: Segmenter) -> None:
        self._segmenter = segmenter
        self._shown: Frame | None = None

    def preprocess_image(self, context: object, image: Picture) -> Frame:
        """The image; the segmenter looks at it when it is asked about it."""
        return Frame.of(image)

    def detect(self, context: object, pp_image: Frame, prompts: Any) -> list[Any]:
        """The mask, with how sure the segmenter is; nothing where it finds no pixel."""
        if self._shown is None or self._shown.content != pp_image.content:
            self._segmenter.set_image(pp_image.image)
            self._shown = pp_image
        height, width = pp_image.image.shape[:2]
        inside, outside = list(prompts.pos_points), list(prompts.neg_points)
        points = _inside([*inside, *outside], height, width)
        box = None
        if prompts.bounding_box is not None:
            box = _inside(prompts.bounding_box, height, width).ravel()
        answer = self._segmenter.predict(
            points=points if len(points) else None,
            labels=np.array([1] * len(inside) + [0] * len(outside)) if len(points) else None,
            box=box,
        )
        if not answer.mask.any():
            return []
        sure = cvat_sdk.models.AttributeValRequest(
            spec_id=int(cvataa.InteractionResultAttributes.CONFIDENCE),
            value=f"{min(max(answer.score, 0.0), 1.0):.4f}",
        )
        points_of_mask = encode_mask(answer.mask)
        return [
            cvataa.InteractionResultShape(type="mask", points=points_of_mask, attributes=[sure])
        ]


def _inside(points: Any, height: int, width: int) -> NDArray[np.float32]:
    """CVAT counts from the corner of the first pixel, segmenters from its middle: (K, 2)."""
    found = np.array(points, dtype=np.float32).reshape(-1, 2) - np.float32(0.5)
    return found.clip(0, np.array([width - 1, height - 1], dtype=np.float32))
