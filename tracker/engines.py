"""The engines by name: one registry that the CLI lists, the settings name and workers make from.

An engine may *learn*: adapt itself to a job's key frames once, before any frame is tracked. What it
learned is a small file's bytes, given to every propagator of the run.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from types import MappingProxyType

from errors import InputError
from tracker.protocol import Example, Propagator

AUTO = "auto"


@dataclass(frozen=True, slots=True)
class EngineInfo:
    """What a person should know of an engine before choosing it.

    `needs`: what must be there before it runs, in words; empty when nothing.
    `devices`: kinds of device that it can use ("cpu", "cuda").
    `learns`: whether it is adapted to a job's key frames before it tracks.
    """

    name: str
    summary: str
    needs: str = ""
    devices: tuple[str, ...] = ("cpu",)
    learns: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Power:
    """What an engine runs on: "cpu", "cuda" or "cuda:0", and CPU threads (0: all that are ours)."""

    device: str = "cpu"
    threads: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Watcher:
    """Who follows a long computation: hears shares done in [0, 1], says when to stop."""

    on_progress: Callable[[float], None] = field(default=lambda share: None)
    should_stop: Callable[[], bool] = field(default=lambda: False)


@dataclass(frozen=True, slots=True)
class _Entry:
    info: EngineInfo
    make: Callable[[str, Power, int, bytes | None], Propagator]
    learn: Callable[[str, Sequence[Example], Power, int, bytes | None, Watcher], bytes | None]


def engines() -> tuple[EngineInfo, ...]:
    """All engines, the default one first."""
    return tuple(entry.info for entry in _REGISTRY.values())


def resolve(name: str) -> EngineInfo:
    """The engine that `name` means; "auto" is the default one, the first of `engines`.

    Raises InputError that lists the names when there is no such engine.
    """
    if name == AUTO:
        return next(iter(_REGISTRY.values())).info
    if name not in _REGISTRY:
        known = ", ".join([AUTO, *_REGISTRY])
        raise InputError(f"There is no engine named {name!r}: use one of {known}.")
    return _REGISTRY[name].info


def learn(
    name: str,
    examples: Sequence[Example],
    *,
    device: str = "cpu",
    seed: int = 0,
    threads: int = 0,
    earlier: bytes | None = None,
    on_progress: Callable[[float], None] | None = None,
    should_stop: Callable[[], bool] | None = None,
) -> bytes | None:
    """What engine `name` learns from a job's key frames, as the bytes of a small file.

    `examples`: at least one; may be lazy, items are read by index, a few at a time. `earlier`: what
    an earlier run of the job learned, to go on from; ignored where it is no such thing.
    `on_progress` hears the share done. Returns None when `should_stop` said so.
    Equal examples, seeds, threads and machines give equal bytes. Empty for an engine that does not
    learn. Raises InputError for an unknown name.
    """
    watcher = Watcher(
        on_progress=on_progress or Watcher().on_progress,
        should_stop=should_stop or Watcher().should_stop,
    )
    entry = _REGISTRY[resolve(name).name]
    power = Power(device=device, threads=threads)
    return entry.learn(entry.info.name, examples, power, seed, earlier, watcher)


def make(
    name: str,
    device: str = "cpu",
    seed: int = 0,
    *,
    threads: int = 0,
    learned: bytes | None = None,
) -> Propagator:
    """A fresh propagator of engine `name` ("auto" allowed).

    `device`: "cpu", "cuda" or "cuda:0"; an engine that cannot use it runs on the CPU.
    `seed`: for engines that draw random numbers; equal seeds give equal masks.
    `threads`: CPU threads to use, 0 for all that this process may use.
    `learned`: what `learn` returned for this job; without it the engine does what it can.
    Raises InputError for an unknown name.
    """
    entry = _REGISTRY[resolve(name).name]
    power = Power(device=device, threads=threads)
    return entry.make(entry.info.name, power, seed, learned or None)


def _builtin(name: str, power: Power, seed: int, learned: bytes | None) -> Propagator:
    # Imported on use: listing the engines must not need OpenCV or torch.
    from tracker.propagators.builtin import make as make_builtin

    return make_builtin(name, power, learned)


def _builtin_learn(
    name: str,
    examples: Sequence[Example],
    power: Power,
    seed: int,
    earlier: bytes | None,
    watcher: Watcher,
) -> bytes | None:
    from tracker.propagators.builtin import learn as learn_builtin

    return learn_builtin(name, examples, power, seed, earlier, watcher)


def _flow(name: str, power: Power, seed: int, learned: bytes | None) -> Propagator:
    from tracker.propagators.flow import FlowPropagator

    return FlowPropagator()


def _learns_nothing(
    name: str,
    examples: Sequence[Example],
    power: Power,
    seed: int,
    earlier: bytes | None,
    watcher: Watcher,
) -> bytes | None:
    return b""


def _builtin_entry(name: str, summary: str) -> _Entry:
    info = EngineInfo(name=name, summary=summary, devices=("cpu", "cuda"), learns=True)
    return _Entry(info, _builtin, _builtin_learn)


_ENTRIES = (
    _builtin_entry(
        "builtin", "Learns each job's objects from its key frames, then follows them by looks."
    ),
    _builtin_entry(
        "builtin-fast",
        "The same at less detail: learns in half the time, tracks half as fast again.",
    ),
    _builtin_entry(
        "builtin-best", "The same with several times the work per job and frame, at more detail."
    ),
    _Entry(
        EngineInfo(
            name="flow",
            summary="Optical flow with colour checks; learns nothing, begins at once.",
        ),
        _flow,
        _learns_nothing,
    ),
)
_REGISTRY = MappingProxyType({entry.info.name: entry for entry in _ENTRIES})
