"""The engines that need no download: each learns a job's objects from its key frames.

Frozen ImageNet features, a small decoder trained on the key frames, and dense optical flow that
carries the last mask to where the decoder then looks.
"""

from __future__ import annotations

from collections.abc import Sequence

from tracker.engines import Power, Watcher
from tracker.propagators.builtin import learn as learning
from tracker.propagators.builtin.propagator import BuiltinPropagator
from tracker.propagators.builtin.recipe import RECIPES
from tracker.protocol import Example

__all__ = ["BuiltinPropagator", "learn", "make"]


def learn(
    engine: str,
    examples: Sequence[Example],
    power: Power,
    seed: int,
    earlier: bytes | None,
    watcher: Watcher,
) -> bytes | None:
    """See `tracker.engines.learn`."""
    return learning.learn(engine, RECIPES[engine], examples, power, seed, earlier, watcher)


def make(engine: str, power: Power, learned: bytes | None) -> BuiltinPropagator:
    """See `tracker.engines.make`."""
    return BuiltinPropagator(RECIPES[engine], power, learned)
