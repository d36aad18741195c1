"""Published video models, as the `transformers` library has them: SAM 2.1, EdgeTAM, SAM 3."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from tracker.engines import Power
from tracker.fits import FoundFits
from tracker.power import device_of
from tracker.propagators.transformers_video.loading import load
from tracker.propagators.transformers_video.propagator import VideoModelPropagator
from tracker.protocol import Propagator

__all__ = ["VideoModelPropagator", "make"]

_FOUND = FoundFits()


def make(name: str, folder: Path, power: Power) -> Propagator:
    """A fresh propagator of the model `name` ("sam2.1-...", "edgetam", "sam3") from `folder`.

    `folder` as `loading.load` wants it. All propagators of a process share the model. Raises
    InputError when the files are missing or of another model.
    """

    def model_on(device: str) -> tuple[Any, Any]:
        loaded = load("video", name, folder, device or device_of(power))
        return loaded.model, loaded.processor

    return VideoModelPropagator(model_on, power, name=name, found=_FOUND)
