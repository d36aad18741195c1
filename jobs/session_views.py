"""What clients see of a live session. Frames as text are such as "0-30,57"."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class SessionEngine:
    """An engine that a session can follow objects with.

    `learns`: whether it is shown the key frames first, which takes seconds to minutes. `ready`:
    whether it can begin at once, as far as the workers that are online say; `note` says what it
    lacks.
    """

    name: str
    summary: str
    learns: bool
    ready: bool
    note: str


@dataclass(frozen=True, slots=True, kw_only=True)
class SessionObject:
    """One object. `color`: of its label, `#rrggbb` or empty."""

    number: int
    name: str
    label: str
    color: str


@dataclass(frozen=True, slots=True, kw_only=True)
class SessionLabel:
    """A label that objects may have."""

    name: str
    color: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Busy:
    """What a worker is doing for a session, or will do next.

    `from_`, `to`: the frames of a step, in its direction, or the frame that is prepared; `frame`:
    the last one that is done, or `from_`. `done`: how many are. `share`: of learning, in [0, 1].
    `waiting`: no worker has taken it up yet.
    """

    id: int
    kind: str
    frame: int
    from_: int  # in JSON: from
    to: int
    done: int
    share: float
    waiting: bool
    worker: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Stopped:
    """Why a step ended before its last frame: an object's divergence reached the limit."""

    frame: int
    object: int
    label: str
    score: float
    why: str
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Ended:
    """The request that ended last. `state`: "done", "failed" or "stopped" (by a person).

    `frame`: the last frame that it computed; `error`: the sentence of a failed one.
    """

    id: int
    kind: str
    state: str
    frame: int | None
    stopped: Stopped | None
    error: str


@dataclass(frozen=True, slots=True, kw_only=True)
class AcceptedView:
    """What was accepted last: up to which frame (None: all), and the run that it became."""

    until: int | None
    run: int


@dataclass(frozen=True, slots=True, kw_only=True)
class SessionView:
    """A session without its masks. `computed`: frames on which it is known what is there.

    `began`: the version with which it began, or began anew when it was reset last. `outdated`:
    computed frames whose nearest key frame before them was changed since. `learned`: whether the
    engine, where it learns, has. `stale`: a sentence where the job has something newer than the
    session began from. `people`: who looks at it, one entry for each page. `changed`: whether
    anything was changed since it was accepted last. `can_undo`, `can_redo`: of whoever asks.
    """

    version: int
    began: int
    engine: str
    segmenter: str
    learned: bool
    engines: tuple[SessionEngine, ...]  # left to whoever knows of workers' engines
    objects: tuple[SessionObject, ...]
    labels: tuple[SessionLabel, ...]
    key_frames: tuple[int, ...]
    computed: str
    outdated: str
    accepted: AcceptedView | None
    changed: bool
    can_undo: bool
    can_redo: bool
    stale: str
    worker: str
    people: tuple[str, ...]
    busy: Busy | None
    last: Ended | None
    threshold: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Changed:
    """What a change did: the new version, and the frames that it touched.

    `key_frames`: those key frames among them on which a person's masks went. `object`: the number
    of an object that was made.
    """

    version: int
    changed: str
    key_frames: str = ""
    object: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class ChangesView:
    """What came after a version. `frames`: that changed; `objects`: whether their list did.

    `people`: as in SessionView, without the page that asks.
    """

    version: int
    frames: str
    objects: bool
    busy: Busy | None
    last: Ended | None
    worker: str
    people: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Published:
    """What became of what was accepted."""

    run: int
    result: str
