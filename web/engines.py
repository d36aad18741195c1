"""Engines and segmenters as the start form offers them, and which worker can run each.

A web host does not import the worker's registry, which needs torch's neighbours: the names and
what they are good for are written down here, and a test compares both. Which weights are there
say the workers themselves.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum

from jobs.session_start import LEARNING
from jobs.session_views import SessionEngine
from jobs.views import WorkerView

AUTO = "auto"
_AUTO = "Takes the first choice for the worker's device whose weights are there, else builtin."
OWN = {
    "builtin": "Learns each job's objects from its key frames, then follows them by looks.",
    "builtin-fast": "The same at less detail: learns in half the time, tracks half as fast again.",
    "builtin-best": "The same with several times the work per job and frame, at more detail.",
    "flow": "Optical flow with colour checks; learns nothing, begins at once.",
}
"""Engines that need no weights, with their summaries."""

PUBLISHED = {
    "deaot-r50-l": "DeAOT-L on ResNet-50: the first choice on a GPU.",
    "deaot-swinb-l": "DeAOT-L on Swin-B: a little better, half as fast.",
    "deaot-l": "DeAOT-L on MobileNet-V2.",
    "deaot-b": "DeAOT-B: as L, but remembers only the key frame.",
    "deaot-s": "DeAOT-S: two layers in place of three, faster.",
    "deaot-t": "DeAOT-T: one layer, the fastest of them.",
    "sam2.1-hiera-large": "SAM 2.1 large: costs by the object.",
    "sam2.1-hiera-base-plus": "SAM 2.1 base plus.",
    "sam2.1-hiera-small": "SAM 2.1 small.",
    "sam2.1-hiera-tiny": "SAM 2.1 tiny.",
    "sam3": "SAM 3: the newest of its family.",
    "edgetam": "EdgeTAM: SAM 2 for small machines.",
}
"""Engines whose weights others have published, with their summaries."""

GOOD_FOR = {
    "deaot-r50-l": "most videos, on a GPU",
    "deaot-swinb-l": "the last tenths of accuracy at half the speed",
    "deaot-l": "a smaller deaot-r50-l",
    "deaot-b": "long videos: its memory does not grow",
    "deaot-s": "speed",
    "deaot-t": "most speed",
    "sam2.1-hiera-large": "few objects that move or hide much",
    "sam2.1-hiera-base-plus": "few objects, less memory",
    "sam2.1-hiera-small": "few objects, faster",
    "sam2.1-hiera-tiny": "clicks on a laptop",
    "sam3": "the newest of its family",
    "edgetam": "clicks on a small machine",
    "sam-vit-b": "clicks on a CPU",
    "sam-vit-l": "clicks on a GPU",
    "sam-vit-h": "the finest clicks",
}
"""What published weights are best for."""

ENGINES = (AUTO, *OWN, *PUBLISHED)
_SEGMENTERS = (
    *("sam2.1-hiera-large", "sam2.1-hiera-base-plus", "sam2.1-hiera-small", "sam2.1-hiera-tiny"),
    *("sam3", "edgetam", "sam-vit-b", "sam-vit-l", "sam-vit-h"),
)
SEGMENTERS = ("builtin", *_SEGMENTERS)


class Presence(StrEnum):
    """Whether an engine can run, as far as the workers that are online say."""

    HERE = "here"
    MISSING = "missing"
    UNKNOWN = "unknown"  # no worker is online


@dataclass(frozen=True, slots=True)
class Choice:
    """One engine or segmenter to choose: what it is good for, and whether it can run."""

    name: str
    presence: Presence
    note: str  # one or two sentences for people


def engines(workers: Sequence[WorkerView]) -> tuple[Choice, ...]:
    """Every engine, as the workers that are online have it."""
    own = (Choice(name, Presence.HERE, summary) for name, summary in OWN.items())
    published = (_published(name, f"{summary} ", workers) for name, summary in PUBLISHED.items())
    return (Choice(AUTO, Presence.HERE, _AUTO), *own, *published)


def segmenters(workers: Sequence[WorkerView]) -> tuple[Choice, ...]:
    """Every segmenter, as the workers that are online have it."""
    own = Choice("builtin", Presence.HERE, "Needs no weights.")
    return (own, *(_published(name, "", workers) for name in _SEGMENTERS))


def session_engines(
    workers: Sequence[WorkerView], chosen: str, *, learned: bool
) -> tuple[SessionEngine, ...]:
    """Every engine for a live session that uses `chosen`; `learned`: whether that one has learned.

    One that learns is ready once it has; one with published weights where a worker has them.
    """
    have = frozenset(name for worker in workers for name in worker.engines)
    found = []
    for name, summary in {**OWN, **PUBLISHED}.items():
        learns = name in LEARNING
        ready, note = name in OWN or name in have, ""
        if not ready:
            note = f"No worker online can run it: `relay models get {name}` brings its weights."
        elif learns and not (learned and name == chosen):
            ready, note = False, "It learns from the key frames before the first step."
        found.append(
            SessionEngine(name=name, summary=summary, learns=learns, ready=ready, note=note)
        )
    return tuple(found)


def _published(name: str, summary: str, workers: Sequence[WorkerView]) -> Choice:
    good = f"{summary}Good for {GOOD_FOR[name]}."
    have = [worker.name for worker in workers if name in worker.engines]
    if len(have) == len(workers) > 0:
        where = "All workers have its weights." if len(have) > 1 else f"{have[0]} has its weights."
        return Choice(name, Presence.HERE, f"{good} {where}")
    if have:
        only = f"Only {', '.join(have)} of {len(workers)} workers can run it."
        return Choice(name, Presence.HERE, f"{good} {only}")
    if not workers:
        return Choice(
            name,
            Presence.UNKNOWN,
            f"{good} No worker is online to say whether its weights are there.",
        )
    return Choice(
        name,
        Presence.MISSING,
        f"{good} No worker online can run it: `relay models get {name}` brings its weights.",
    )
