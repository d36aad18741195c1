"""The golden data of ../shared/deaot, and networks with its weights."""

from __future__ import annotations

import json
from functools import lru_cache

import numpy as np
import torch
from numpy.typing import NDArray

from bench.golden import GOLDEN, golden_network
from tracker.propagators.deaot.network import DeAOT
from tracker.propagators.deaot.picture import network_size, normalised, shrunk
from tracker.propagators.deaot.tracker import Tracker

VARIANTS = ("DeAOTT", "R50_DeAOTL", "SwinB_DeAOTL")
TOLERANCE = 2e-3  # of logits and intermediates, see its README
OBJECTS = {"two": 2, "many": 13}


@lru_cache(maxsize=1)
def network(variant: str) -> DeAOT:
    """The network with golden weights, ready to run."""
    made = golden_network(variant, GOLDEN / f"{variant}_overrides.npz")
    made.prepare()
    return made


@lru_cache(maxsize=1)
def expected(variant: str) -> dict[str, NDArray[np.generic]]:
    """Everything that the reference gave."""
    with np.load(GOLDEN / f"{variant}_golden.npz") as arrays:
        return {name: arrays[name] for name in arrays.files}


@lru_cache(maxsize=1)
def meta(variant: str) -> dict[str, dict[str, object]]:
    """Shapes and strides of the intermediates."""
    loaded: dict[str, dict[str, object]] = json.loads(
        (GOLDEN / f"{variant}_golden_meta.json").read_text()
    )
    return loaded


@lru_cache(maxsize=2)
def clip(name: str) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    """Frames (9, H, W, 3) and ids (9, H, W)."""
    with np.load(GOLDEN / "inputs.npz") as arrays:
        return arrays[f"{name}_frames"], arrays[f"{name}_ids"]


def look(tracker: Tracker, frame: NDArray[np.uint8]) -> None:
    """Show a frame to the network."""
    tracker.look(normalised(frame, size_of(tracker, frame)))


def at_size(tracker: Tracker, ids: NDArray[np.uint8]) -> torch.Tensor:
    """A label map as the network takes it."""
    return shrunk(ids.astype(np.uint16), size_of(tracker, ids))


def size_of(tracker: Tracker, like: NDArray[np.uint8]) -> tuple[int, int]:
    """The network's size for a frame."""
    return network_size(*like.shape[:2], corners=tracker.variant.corners)
