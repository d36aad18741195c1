"""Published files, read without trust and refused before anything runs where they do not fit."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import torch
from torch import Tensor

from errors import InputError
from tracker.propagators.deaot.network import DeAOT
from tracker.propagators.deaot.variants import VARIANTS

_CONTAINERS = ("state_dict", "model")  # where a training program put the weights
_PREFIX = "module."  # of names that were saved from several GPUs at once
_COMPUTED = "relative_position_index"  # a table that the network makes itself
_NAMED = 1  # names that a sentence lists before it counts


def load(variant: str, path: Path) -> DeAOT:
    """The network `variant` with the weights of `path`, on the CPU, not yet prepared to run.

    Raises InputError, which names what is missing or has another shape, when the file is not one of
    this variant.
    """
    network = DeAOT(VARIANTS[variant])
    fill(network, _read(path), str(path))
    return network


def require_names(variant: str, path: Path) -> None:
    """Make sure that `path` has the names and shapes of `variant`, without reading any number.

    Raises InputError as `load` does.
    """
    with torch.device("meta"):
        network = DeAOT(VARIANTS[variant])
    _matching(network, _read(path, "meta"), str(path))


def fill(network: DeAOT, weights: Mapping[str, Tensor], source: str) -> None:
    """Put `weights` into `network`, all of it; what it does not know is left out.

    Files hold surplus names in good faith (counters, the optimiser, a stage that nobody needs); one
    that lacks a name, has it in another shape, or has further layers, is of another model. `source`
    names the file in the error. Raises InputError.
    """
    found = _matching(network, weights, source)
    network.load_state_dict({name: w.float() for name, w in found.items()}, strict=False)


def _matching(network: DeAOT, weights: Mapping[str, Tensor], source: str) -> Mapping[str, Tensor]:
    """All weights that `network` needs, by its own names. Raises InputError as `fill` does."""
    own = network.state_dict()
    found = {
        name.removeprefix(_PREFIX) if name not in own else name: w for name, w in weights.items()
    }
    needed = [name for name in own if not name.endswith(_COMPUTED)]
    missing = [name for name in needed if name not in found]
    unlike = [n for n in needed if n in found and found[n].shape != own[n].shape]
    surplus = [name for name in found if name not in own]
    deeper = any(name.startswith("LSTT.") for name in surplus)  # a model of more layers
    if missing or unlike or deeper:
        said = [
            f"{len(names)} {what} ({', '.join(names[:_NAMED])}{', …' * (len(names) > _NAMED)})"
            for names, what in (
                (missing, "missing"),
                (unlike, "of another shape"),
                (surplus, "surplus"),
            )
            if names
        ]
        raise InputError(
            f"{source} does not hold the weights of {network.variant.name}: {'; '.join(said)}."
            " Get the file again, or choose the engine that it belongs to."
        )
    return {name: found[name] for name in needed}


def _read(path: Path, device: str = "cpu") -> Mapping[str, Tensor]:
    try:
        content = torch.load(path, map_location=device, weights_only=True)
    except OSError as exc:
        raise InputError(f"{path} cannot be read: {exc.strerror or exc}.") from exc
    except Exception as exc:  # whatever a damaged or hostile file makes of a reader
        raise InputError(
            f"{path} is not a file of network weights, or it is damaged. Get it again."
        ) from exc
    for container in _CONTAINERS:
        if isinstance(content, Mapping) and isinstance(content.get(container), Mapping):
            content = content[container]
            break
    if not isinstance(content, Mapping):
        raise InputError(f"{path} holds no network weights. Get it again.")
    return {
        name: w
        for name, w in content.items()
        if isinstance(name, str)
        and isinstance(w, Tensor)
        and w.layout is torch.strided
        and w.device.type == device
        and not w.is_complex()
    }
