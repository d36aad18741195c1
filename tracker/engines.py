"""The engines by name: one registry that the CLI lists, the settings name and workers make from."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from types import MappingProxyType

from errors import InputError
from tracker.protocol import Propagator

AUTO = "auto"


@dataclass(frozen=True, slots=True)
class EngineInfo:
    """What a person should know of an engine before choosing it.

    `needs`: what must be there before it runs, in words; empty when nothing.
    `devices`: kinds of device that it can use ("cpu", "cuda").
    """

    name: str
    summary: str
    needs: str = ""
    devices: tuple[str, ...] = ("cpu",)


@dataclass(frozen=True, slots=True)
class _Entry:
    info: EngineInfo
    make: Callable[[str, int], Propagator]


def engines() -> tuple[EngineInfo, ...]:
    """All engines, the best one first."""
    return tuple(entry.info for entry in _REGISTRY.values())


def resolve(name: str) -> EngineInfo:
    """The engine that `name` means; "auto" is the best one that is present.

    Raises InputError that lists the names when there is no such engine.
    """
    if name == AUTO:
        return next(iter(_REGISTRY.values())).info
    if name not in _REGISTRY:
        known = ", ".join([AUTO, *_REGISTRY])
        raise InputError(f"There is no engine named {name!r}: use one of {known}.")
    return _REGISTRY[name].info


def make(name: str, device: str = "cpu", seed: int = 0) -> Propagator:
    """A fresh propagator of engine `name` ("auto" allowed).

    `device`: "cpu", "cuda" or "cuda:0"; an engine that cannot use it runs on the CPU.
    `seed`: for engines that draw random numbers; equal seeds give equal masks.
    Raises InputError for an unknown name.
    """
    return _REGISTRY[resolve(name).name].make(device, seed)


def _builtin(device: str, seed: int) -> Propagator:
    # Imported on use: listing the engines must not need OpenCV.
    from tracker.propagators.builtin import BuiltinPropagator

    return BuiltinPropagator()


_REGISTRY = MappingProxyType(
    {
        "builtin": _Entry(
            EngineInfo(
                name="builtin",
                summary="Dense optical flow with appearance checks; any CPU, nothing to download.",
            ),
            _builtin,
        ),
    }
)
