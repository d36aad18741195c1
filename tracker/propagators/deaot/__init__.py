"""DeAOT, the published mask propagation network, written from its paper to load its weights.

Yang and Yang, "Decoupling Features in Hierarchical Propagation for Video Object Segmentation"
(NeurIPS 2022).
"""

from __future__ import annotations

from pathlib import Path
from threading import Lock
from weakref import WeakKeyDictionary

from tracker.engines import Power
from tracker.fits import FoundFits
from tracker.once import once
from tracker.propagators.deaot.bank import Eviction
from tracker.propagators.deaot.batch import Batcher, CudaGauge
from tracker.propagators.deaot.network import DeAOT
from tracker.propagators.deaot.propagator import DeAOTPropagator
from tracker.propagators.deaot.tracker import Memories
from tracker.propagators.deaot.weights import load

__all__ = ["Batcher", "DeAOTPropagator", "Eviction", "Memories", "make", "make_batcher"]

MOST_MEMORIES = 8  # long-term memories of ten objects
_KEPT = 2  # networks that a process keeps
_FOUND = FoundFits()
_WORTH = 0.5  # see `Batcher`: what a batch of two saves on a graphics card at best
_LINING_UP = Lock()  # one line for a network, also where spans begin at once
_BATCHERS: WeakKeyDictionary[DeAOT, Batcher] = WeakKeyDictionary()


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

    def network(device: str) -> DeAOT:
        return _network(variant, weights, version, device, compiled)

    return DeAOTPropagator(network, power, memories, found=_FOUND, batcher=_batcher)


def _batcher(network: DeAOT) -> Batcher:
    """Where all of this process stand in line that use `network`."""
    with _LINING_UP:
        if network not in _BATCHERS:
            _BATCHERS[network] = make_batcher(network)
        return _BATCHERS[network]


def make_batcher(network: DeAOT) -> Batcher:
    """A line in front of `network`; on a graphics card its batches keep to the memory there is."""
    device = network.id_norm.weight.device
    if device.type == "cuda":
        return Batcher(CudaGauge(device), worth=_WORTH)
    return Batcher()  # a processor computes two frames at once no sooner than one by one


@once(most=_KEPT)
def _network(
    variant: str, weights: Path, version: tuple[int, int], device: str, compiled: bool
) -> DeAOT:
    """Loaded once per process, file version and device."""
    network = load(variant, weights).to(device)
    network.prepare(compiled=compiled)
    return network
