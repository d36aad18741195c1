"""Segmenters: engines that turn clicks, boxes and strokes on one image into a mask.

One registry of names: `builtin`, which needs nothing, and those whose weights others have published
(`tracker.models`).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from errors import InputError
from tracker import models
from tracker.engines import telling
from tracker.segmenters.protocol import Segmenter

if TYPE_CHECKING:
    from tracker.segmenters.embeddings import Embeddings

BUILTIN = "builtin"
_SAM = "sam-"


def names() -> tuple[str, ...]:
    """All segmenters, the one that needs no download first."""
    return (BUILTIN, *(model.name for model in models.models() if model.segments))


def require(name: str) -> None:
    """Make sure that segmenter `name` can run as far as its weights go, before anything does.

    Raises InputError with one sentence for an unknown name, and for weights that are missing or
    wrong.
    """
    if name not in names():
        known = ", ".join(names())
        raise InputError(f"There is no segmenter named {name!r}: use one of {known}.")
    if name == BUILTIN:
        return
    if not models.model(name).runnable:
        raise InputError(
            f"The segmenter {name} needs the package {models.model(name).library}: install it with "
            "`pip install 'mask-relay[worker]'` or, in a checkout, `make setup`."
        )
    models.require_fitting(name, models.Use.IMAGE)


def make(
    name: str,
    device: str = "cpu",
    cache: Embeddings | None = None,
    on_notice: Callable[[str], None] | None = None,
) -> Segmenter:
    """A fresh segmenter `name`, on "cpu", "cuda" or "cuda:0".

    `cache`: where encoded images are kept; None for only the last one. `on_notice` hears a sentence
    where it goes on on the processor, since the device has too little memory. Raises InputError as
    `require` does, and for weights that are another model's.
    """
    require(name)
    # Imported on use: listing the names must not need OpenCV or torch.
    if name == BUILTIN:
        from tracker.segmenters.builtin import BuiltinSegmenter

        return BuiltinSegmenter()
    if device == "cpu":
        return _published(name, device, cache)
    from tracker.segmenters.fitting import FittingSegmenter

    return FittingSegmenter(
        lambda place: _published(name, place, cache), device, telling(name, device, on_notice)
    )


def _published(name: str, device: str, cache: Embeddings | None) -> Segmenter:
    if name.startswith(_SAM):
        from tracker.segmenters.sam import SamSegmenter, variant_of

        return SamSegmenter(variant_of(name), models.weights(name), device, cache)
    from tracker.segmenters.transformers_image import TransformersSegmenter

    return TransformersSegmenter(name, models.weights(name), device, cache)
