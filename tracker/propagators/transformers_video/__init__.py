"""Published video models, as the `transformers` library has them: SAM 2.1, EdgeTAM, SAM 3."""

from __future__ import annotations

from pathlib import Path

from tracker.engines import Power
from tracker.power import device_of
from tracker.propagators.transformers_video.loading import load
from tracker.propagators.transformers_video.propagator import VideoModelPropagator
from tracker.protocol import Propagator

__all__ = ["VideoModelPropagator", "make"]


def make(name: str, folder: Path, power: Power) -> Propagator:
    """A fresh propagator of the model `name` ("sam2.1-...", "edgetam", "sam3") from `folder`.

    `folder` as `loading.load` wants it. All propagators of a process share the model. Raises
    InputError when the files are missing or of another model.
    """
    loaded = load("video", name, folder, device_of(power))
    return VideoModelPropagator(loaded.model, loaded.processor, power)
