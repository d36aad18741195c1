"""The engines by name: one registry that the CLI lists, the settings name and workers make from.

Some need weights that others have published (`tracker.models`).

An engine may *learn*: adapt itself to a job's key frames once, before any frame is tracked. What it
learned is a small file's bytes, given to every propagator of the run.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from types import MappingProxyType

from errors import InputError
from tracker import models
from tracker.protocol import Example, Propagator

AUTO = "auto"


@dataclass(frozen=True, slots=True)
class EngineInfo:
    """What a person should know of an engine before choosing it.

    `needs`: what must be there before it runs, in words; empty when nothing.
    `devices`: kinds of device that it can use ("cpu", "cuda").
    `learns`: whether it is adapted to a job's key frames before it tracks.
    `model`: the name in `tracker.models` of the weights that it needs, "" when none.
    """

    name: str
    summary: str
    needs: str = ""
    devices: tuple[str, ...] = ("cpu",)
    learns: bool = False
    model: str = ""


@dataclass(frozen=True, slots=True)
class Choice:
    """The engine that "auto" means on some device, and why, as a sentence goes on after a colon."""

    name: str
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Memory:
    """How much an engine remembers for long, where it does: 0 is as it is made.

    `frames`: at most, of each ten objects. `gap`: frames from one to the next. `keep_key_frames`:
    whether those whose masks were given stay when it is full, or only the newest do.
    """

    frames: int = 0
    gap: int = 0
    keep_key_frames: bool = True


@dataclass(frozen=True, slots=True, kw_only=True)
class Power:
    """What an engine runs on, and how.

    `device`: "cpu", "cuda" or "cuda:0". `threads`: of the CPU, 0 for all that are ours. `compiled`:
    translate networks for the machine first, where an engine can. `spans`: how many videos this
    process may follow at once, each in a thread; an engine that can computes them together.
    `on_smaller`: hears with what an engine goes on where the device's memory does not hold it all,
    such as "ten objects at a time"; at each key frame again.
    """

    device: str = "cpu"
    threads: int = 0
    compiled: bool = False
    spans: int = 1
    memory: Memory = field(default_factory=Memory)
    on_smaller: Callable[[str], None] = field(default=lambda words: None, compare=False)


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


def resolve(name: str, device: str = "cpu") -> EngineInfo:
    """The engine that `name` means; "auto" is the one that `choose` takes for `device`.

    Raises InputError that lists the names when there is no such engine.
    """
    if name == AUTO:
        return _REGISTRY[choose(lambda: device).name].info
    if name not in _REGISTRY:
        known = ", ".join([AUTO, *_REGISTRY])
        raise InputError(f"There is no engine named {name!r}: use one of {known}.")
    return _REGISTRY[name].info


def choose(find_device: Callable[[], str]) -> Choice:
    """What "auto" means where `find_device` says "cpu", "cuda" or "cuda:N", a device that is there.

    On a GPU the first of `AUTO_ON_GPU` whose weights are here, else, as on a CPU, the first engine
    that needs none. Weights are looked for, not compared: see `require`. The device, which takes
    seconds to find, is asked for only where it matters.
    """
    own = next(entry.info for entry in _REGISTRY.values() if not entry.info.model)
    here = [name for name in AUTO_ON_GPU if _can_run(name)]
    if not here:
        return Choice(own.name, "no weights that auto would take are here, see `relay models`")
    device = find_device()
    if device == "cpu":
        return Choice(own.name, f"{here[0]}, whose weights are here, is slow without a GPU")
    return Choice(here[0], f"the first choice for a GPU whose weights are here, on {device}")


def _entry(name: str, device: str) -> _Entry:
    return _REGISTRY[(resolve(name, device) if name == AUTO else resolve(name)).name]


def _can_run(name: str) -> bool:
    model = _REGISTRY[name].info.model
    return models.is_present(model) and models.model(model).runnable


def require(name: str) -> None:
    """Make sure that engine `name` can run as far as its weights go, before anything does.

    Raises InputError with one sentence when they are missing, are not the right ones, or the
    package that runs them is not installed; also for an unknown name.
    """
    info = resolve(name)
    if not info.model:
        return
    if not models.model(info.model).runnable:
        raise InputError(
            f"The engine {info.name} needs the package {models.model(info.model).library}: install "
            "it with `pip install 'mask-relay[worker]'` or, in a checkout, `make setup`."
        )
    models.require_fitting(info.model, models.Use.VIDEO)


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
    entry = _entry(name, device)
    power = Power(device=device, threads=threads)
    return entry.learn(entry.info.name, examples, power, seed, earlier, watcher)


def make(
    name: str,
    device: str = "cpu",
    seed: int = 0,
    *,
    threads: int = 0,
    learned: bytes | None = None,
    compiled: bool = False,
    spans: int = 1,
    memory: Memory | None = None,
    on_notice: Callable[[str], None] | None = None,
) -> Propagator:
    """A fresh propagator of engine `name` ("auto" allowed).

    `device`: "cpu", "cuda" or "cuda:0"; an engine that cannot use it runs on the CPU.
    Weights that an engine needs are compared before they are loaded.
    `seed`: for engines that draw random numbers; equal seeds give equal masks.
    `threads`: CPU threads to use, 0 for all that this process may use.
    `learned`: what `learn` returned for this job; without it the engine does what it can.
    `compiled`, `spans`, `memory`: see `Power`.
    `on_notice` hears a sentence where the engine goes on in a smaller way than it is meant to,
    since the device has too little memory; the same one may come again.
    Raises InputError for an unknown name, and for weights that are missing or wrong.
    """
    entry = _entry(name, device)
    power = Power(
        device=device,
        threads=threads,
        compiled=compiled,
        spans=spans,
        memory=memory or Memory(),
        on_smaller=telling(entry.info.name, device, on_notice),
    )
    return entry.make(entry.info.name, power, seed, learned or None)


def telling(
    name: str, device: str, on_notice: Callable[[str], None] | None
) -> Callable[[str], None]:
    """What `Power.on_smaller` has to be, for `on_notice` to hear a sentence about `name`."""

    def tell(words: str) -> None:
        if on_notice is not None:
            on_notice(f"{device} has too little memory for all of {name}: it goes on with {words}.")

    return tell


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


def _deaot(name: str, power: Power, seed: int, learned: bytes | None) -> Propagator:
    from tracker.propagators.deaot import make as make_deaot

    return make_deaot(VARIANTS[name], models.weights(name), power)


def _transformers(name: str, power: Power, seed: int, learned: bytes | None) -> Propagator:
    from tracker.propagators.transformers_video import make as make_transformers

    return make_transformers(name, models.weights(name), power)


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


def _published(
    name: str, make: Callable[[str, Power, int, bytes | None], Propagator], summary: str
) -> _Entry:
    info = EngineInfo(
        name=name,
        summary=summary,
        needs="its weights (`relay models get NAME`)",
        devices=("cpu", "cuda"),
        model=name,
    )
    return _Entry(info, make, _learns_nothing)


AUTO_ON_GPU = (
    "deaot-r50-l",
    "deaot-swinb-l",
    "deaot-l",
    "deaot-b",
    "deaot-s",
    "deaot-t",
)
"""What "auto" takes on a GPU, best first. SAM's family has to be asked for by name: its cost grows
with every object."""

VARIANTS = MappingProxyType(
    {
        "deaot-r50-l": "R50_DeAOTL",
        "deaot-swinb-l": "SwinB_DeAOTL",
        "deaot-l": "DeAOTL",
        "deaot-b": "DeAOTB",
        "deaot-s": "DeAOTS",
        "deaot-t": "DeAOTT",
    }
)

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
    _published("deaot-r50-l", _deaot, "DeAOT-L on ResNet-50: the first choice on a GPU."),
    _published("deaot-swinb-l", _deaot, "DeAOT-L on Swin-B: a little better, half as fast."),
    _published("deaot-l", _deaot, "DeAOT-L on MobileNet-V2."),
    _published("deaot-b", _deaot, "DeAOT-B: as L, but remembers only the key frame."),
    _published("deaot-s", _deaot, "DeAOT-S: two layers in place of three, faster."),
    _published("deaot-t", _deaot, "DeAOT-T: one layer, the fastest of them."),
    _published("sam2.1-hiera-large", _transformers, "SAM 2.1 large: costs by the object."),
    _published("sam2.1-hiera-base-plus", _transformers, "SAM 2.1 base plus."),
    _published("sam2.1-hiera-small", _transformers, "SAM 2.1 small."),
    _published("sam2.1-hiera-tiny", _transformers, "SAM 2.1 tiny."),
    _published("sam3", _transformers, "SAM 3: the newest of its family."),
    _published("edgetam", _transformers, "EdgeTAM: SAM 2 for small machines."),
)
_REGISTRY = MappingProxyType({entry.info.name: entry for entry in _ENTRIES})
