"""DeAOT, the published mask propagation network, written from its paper to load its weights.

Yang and Yang, "Decoupling Features in Hierarchical Propagation for Video Object Segmentation"
(NeurIPS 2022).
"""

from __future__ import annotations

from pathlib import Path

from tracker.engines import Power
from tracker.fits import FoundFits
from tracker.once import once
from tracker.propagators.deaot.bank import Eviction
from tracker.propagators.deaot.network import DeAOT
from tracker.propagators.deaot.propagator import DeAOTPropagator
from tracker.propagators.deaot.tracker import Memories
from tracker.propagators.deaot.weights import load

__all__ = ["DeAOTPropagator", "Eviction", "Memories", "make"]

MOST_MEMORIES = 8  # long-term memories of ten objects
_KEPT = 2  # networks that a process keeps
_FOUND = FoundFits()


def make(variant: str, weights: Path, power: Power) -> DeAOTPropagator:
    """A propagator of `variant`, a name in `variants.VARIANTS`, with the weights of a file.

    Raises InputError when the file is not one of this variant.
    """
    wanted = power.memory
    memories = Memories(
        gap=wanted.gap or None,
        most=wanted.frames or MOST_MEMORIES,
        eviction=Eviction.KEEP_KEY_FRAMES if wanted.keep_key_frames else Eviction.OLDEST,
    )
    status = weights.stat() if weights.exists() else None
    version = (status.st_size, status.st_mtime_ns) if status else (0, 0)
    compiled = power.compiled
    return DeAOTPropagator(
        lambda device: _network(variant, weights, version, device, compiled),
        power,
        memories,
        found=_FOUND,
    )


@once(most=_KEPT)
def _network(
    variant: str, weights: Path, version: tuple[int, int], device: str, compiled: bool
) -> DeAOT:
    """Loaded once per process, file version and device."""
    network = load(variant, weights).to(device)
    network.prepare(compiled=compiled)
    return network
