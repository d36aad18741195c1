"""A live session as a layer beside runs and revisions: its masks by frame, and all at a glance.

What frames look like at a glance is remembered between questions, and only frames that changed
since are read again, so that a timeline may be asked for after every step.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from threading import Lock

import numpy as np
from numpy.typing import NDArray
from sqlalchemy import select

from jobs.db import Database
from jobs.layer_views import (
    FLAGGED,
    FrameEntry,
    LayerKind,
    LayerView,
    MaskEntry,
    Presence,
    TimelineView,
)
from jobs.next_frame import WORDS, FrameDoubt, worst_frames
from jobs.session_masks import IGNORED, Origin, runs_text
from jobs.session_models import LiveSession, SessionFrame, SessionMask
from jobs.session_state import FrameState, State
from jobs.sessions import Sessions
from jobs.timeline import UNKNOWN, Lanes

MOST_WORST = 20
_MOST_GLANCES = 8  # sessions whose frames are remembered
_WHYS = (*WORDS, "")
_CELL = np.dtype([("number", "<u4"), ("presence", "u1"), ("score", "u1"), ("why", "u1")])
Cells = NDArray[np.void]
"""One frame at a glance: of each mask object, `Presence`, score as in a lane, place in _WHYS."""


class SessionLayers:
    """From a job's id to its session as a layer. Thread-safe."""

    def __init__(self, database: Database, sessions: Sessions) -> None:
        self._database = database
        self._sessions = sessions
        self._lock = Lock()
        self._glances: OrderedDict[str, _Glance] = OrderedDict()

    def __call__(self, job_id: str) -> SessionLayer | None:
        """The layer of a job; None where nobody has begun a session."""
        with self._database.read() as session:
            row = session.get(LiveSession, job_id)
            if row is None:
                return None
            accepted = row.accepted
            return SessionLayer(
                self,
                job_id,
                view=LayerView(
                    name="session",
                    title="Frame by frame, not accepted yet",
                    created=row.updated,
                    kind=LayerKind.SESSION,
                ),
                pending=row.version > (row.began if accepted is None else accepted["version"]),
                version=f"{row.began}-{row.version}",
            )

    def entries(self, job_id: str, frames: Sequence[int]) -> tuple[FrameEntry, ...]:
        """See `LiveLayer.entries`."""
        with self._sessions.reading(job_id) as state:
            return tuple(map(_entry, state.frames(frames)))

    def timeline(self, job_id: str) -> TimelineView:
        """See `LiveLayer.timeline`."""
        with self._sessions.reading(job_id) as state, self._glance(job_id) as glance:
            glance.bring_up(state)
            return glance.timeline(state)

    @contextmanager
    def _glance(self, job_id: str) -> Iterator[_Glance]:
        with self._lock:
            glance = self._glances.setdefault(job_id, _Glance())
            self._glances.move_to_end(job_id)
            while len(self._glances) > _MOST_GLANCES:
                self._glances.popitem(last=False)
        with glance.lock:
            yield glance


class SessionLayer:
    """One job's session at one moment; a `jobs.layer_views.LiveLayer`."""

    def __init__(
        self, layers: SessionLayers, job_id: str, *, view: LayerView, pending: bool, version: str
    ) -> None:
        self._layers = layers
        self._job_id = job_id
        self.view = view
        self.pending = pending
        self.version = version

    def entries(self, frames: Sequence[int]) -> Sequence[FrameEntry]:
        """One entry for each of `frames`, which ascend."""
        return self._layers.entries(self._job_id, frames)

    def timeline(self) -> TimelineView:
        """All of it at a glance."""
        return self._layers.timeline(self._job_id)


class _Glance:
    """What is remembered of a session's frames. Use it with `lock` held."""

    def __init__(self) -> None:
        self.lock = Lock()
        self._of: tuple[object, ...] = ()
        self._seen = -1
        self._cells: dict[int, Cells] = {}

    def bring_up(self, state: State) -> None:
        """Read again what changed."""
        row = state.row
        beginning = row.created, row.began, row.base
        if self._of != beginning:
            self._cells, self._of, self._seen = _of_base(state), beginning, -1
        changed: set[int] = set()
        for table in (SessionFrame, SessionMask):
            changed.update(
                state.session.scalars(
                    select(table.frame)
                    .where(table.job_id == row.job_id, table.version > self._seen)
                    .distinct()
                )
            )
        from_run = row.run is not None
        for found in state.frames(sorted(changed)):
            self._cells[found.frame] = _of_frame(found, from_run=from_run)
        self._seen = max(self._seen, row.version)

    def timeline(self, state: State) -> TimelineView:
        """All frames at a glance."""
        numbers, objects = state.head.numbers, state.objects
        numbered = np.array(sorted(objects), dtype=np.uint32)
        keys = state.key_frames()
        people = frozenset(keys)
        lanes, doubts = Lanes(len(numbers), state.labels), list[FrameDoubt]()
        for frame in sorted(self._cells):
            cells = self._cells[frame]
            known = cells[np.isin(cells["number"], numbered)]
            index = numbers.index(frame)
            for number, presence, score, _ in known.tolist():
                label = objects[number]["label"]
                lanes.mask(index, number, label, Presence(presence))
                if score != UNKNOWN:
                    lanes.score(index, number, label, score / 254)
            doubtful = known[known["score"] != UNKNOWN]
            if len(doubtful) and frame not in people:
                doubts.append(_doubt(frame, doubtful, objects))
        return TimelineView(
            first=numbers[0],
            last=numbers[-1],
            step=numbers.step,
            count=len(numbers),
            key_frames=tuple(keys),
            objects=lanes.views(),
            worst=worst_frames(doubts, keys, MOST_WORST),
            next=None,
            flagged=sum(each.score >= FLAGGED for each in doubts),
        )


def _doubt(frame: int, cells: Cells, objects: dict[int, dict[str, str]]) -> FrameDoubt:
    scores = cells["score"] / 254
    worst = cells[int(np.argmax(scores))]
    number = int(worst["number"])
    return FrameDoubt(
        frame=frame,
        objects=len(cells),
        loss=float(scores.sum()),
        worst=number,
        label=objects[number]["label"],
        score=float(scores.max()),
        why=_WHYS[worst["why"]],
    )


def _of_base(state: State) -> dict[int, Cells]:
    """What the base has on all frames."""
    from_run = state.row.run is not None
    return {
        frame: _cells(
            _cell(
                item["object"],
                item.get("score"),
                item.get("why", ""),
                drawn=frame in state.head.keys or not from_run,
                computed=False,
            )
            for item in items
            if item["object"] != IGNORED
        )
        for frame, items in state.base.items(state.head.offsets)
    }


def _of_frame(found: FrameState, *, from_run: bool) -> Cells:
    """What a frame has by now."""
    return _cells(
        _cell(
            shown.number,
            shown.score,
            shown.why,
            drawn=found.key
            or shown.origin is Origin.HUMAN
            or (shown.origin is Origin.BASE and not from_run),
            computed=shown.origin is Origin.COMPUTED,
        )
        for shown in found.masks
        if shown.number != IGNORED
    )


def _cell(
    number: int, score: float | None, why: str, *, drawn: bool, computed: bool
) -> tuple[int, Presence, int, int]:
    if drawn:
        return number, Presence.KEY, UNKNOWN, len(WORDS)
    presence = Presence.COMPUTED if computed or score is not None else Presence.CARRIED
    byte = UNKNOWN if score is None else round(254 * min(1.0, max(0.0, score)))
    return number, presence, byte, _WHYS.index(why) if why in WORDS else len(WORDS)


def _cells(cells: Iterable[tuple[int, Presence, int, int]]) -> Cells:
    return np.array(list(cells), dtype=_CELL)


def _entry(found: FrameState) -> FrameEntry:
    """A frame as layers have it: the lowest mask first; no divergence of a person's masks."""
    masks = sorted(found.masks, key=lambda shown: shown.shape.z_order)
    return FrameEntry(
        frame=found.frame,
        key=found.key,
        masks=tuple(
            MaskEntry(
                object=shown.number,
                label=shown.shape.label,
                box=(shown.mask.left, shown.mask.top, shown.mask.width, shown.mask.height),
                runs=runs_text(shown.mask),
                score=None if found.key else shown.score,
                why="" if found.key or shown.score is None else shown.why,
                occluded=shown.shape.occluded,
                z=shown.shape.z_order,
            )
            for shown in masks
        ),
    )
