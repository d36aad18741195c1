"""One change of a session: what it writes, under one new version, and how it is taken back."""

from __future__ import annotations

import json
import zlib
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from sqlalchemy import Table, delete, func, select
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.orm import Session

from errors import ConflictError, InputError
from jobs import audit
from jobs.db import db_now
from jobs.session_masks import Origin
from jobs.session_models import SessionEdit, SessionFrame, SessionMask
from jobs.session_state import AS_BASE, State

MOST_EDITS = 200  # of one session that can be taken back: nobody goes back by hand any further
MOST_EDITS_BYTES = 64 * 2**20
"""Packed, of one session. A drawn mask takes kilobytes, so that this is far beyond 200 of them; an
object of a film's length taken off takes megabytes, and of 200 such the database would grow without
end. The latest change stays whatever its size, which MOST_ROWS bounds: who did it can undo it."""
MOST_ROWS = 200_000  # masks that one change may write: others wait for their turn meanwhile
_AT_ONCE = 500  # frames whose rows are read at once, and rows that are written at once

MaskRow = tuple[str, str]
"""`origin` and `mask` of a row."""
FrameRow = tuple[bool, str, str]
"""`key`, `state` and `trail` of a row."""

_NO_MASK: MaskRow = (Origin.BASE.value, "")


@dataclass(frozen=True, slots=True)
class Done:
    """What an action changes, and what is to be told of it.

    `keys`: key frames from which a person's masks go; `made`: number of a new object.
    """

    change: Change
    keys: Sequence[int] = ()
    made: int | None = None


@dataclass(slots=True)
class Change:
    """What is to be written of one session; `write` does it.

    `masks`: by frame and object; `frames`: by frame; `objects`: all of them, None where they stay.
    `kept`: frames and objects that stay as they are, and that taking it back brings back, whatever
    an engine has computed there since.
    """

    state: State
    masks: dict[tuple[int, int], MaskRow] = field(default_factory=dict)
    frames: dict[int, FrameRow] = field(default_factory=dict)
    objects: list[dict[str, Any]] | None = None
    kept: set[tuple[int, int]] = field(default_factory=set)

    @property
    def is_empty(self) -> bool:
        """Whether there is nothing to write."""
        return not self.masks and not self.frames and self.objects is None

    @property
    def changed(self) -> list[int]:
        """The frames that it changes, ascending."""
        return sorted(self.frames.keys() | {frame for frame, _ in self.masks})

    def put(self, frame: int, number: int, origin: Origin, mask: str = "") -> None:
        """Set an object's mask on a frame, "" for none. Raises InputError for too many of them."""
        if len(self.masks) >= MOST_ROWS:
            raise InputError(
                f"This changes more than {MOST_ROWS:,} masks at once: choose fewer frames or fewer "
                "objects, and do the others after them."
            )
        self.masks[frame, number] = (origin.value, mask)

    def write(self, *, by_person: bool) -> int:
        """Write it all; returns the session's new version."""
        row, session = self.state.row, self.state.session
        row.version += 1
        row.updated = session.scalars(select(db_now())).one()
        if by_person:
            row.edited = row.version
        if self.objects is not None:
            row.objects, row.listed = self.objects, row.version
        self._upsert(
            SessionMask,
            [
                {"frame": frame, "object": number, "origin": origin, "mask": mask}
                for (frame, number), (origin, mask) in self.masks.items()
            ],
        )
        self._upsert(
            SessionFrame,
            [
                {"frame": frame, "key": key, "state": state, "trail": trail}
                for frame, (key, state, trail) in self.frames.items()
            ],
        )
        session.flush()
        return row.version

    def do(self, kind: str) -> int:
        """Write it as a change by the person who acts, who can take it back."""
        session, job_id = self.state.session, self.state.row.job_id
        record = self._record()
        version = self.write(by_person=True)
        who = audit.actor()
        session.execute(
            delete(SessionEdit).where(
                SessionEdit.job_id == job_id, SessionEdit.actor == who, SessionEdit.undone
            )
        )
        session.add(
            SessionEdit(
                job_id=job_id,
                actor=who,
                kind=kind,
                version=version,
                change=zlib.compress(json.dumps(record).encode(), 1),
            )
        )
        session.flush()
        _forget_old(session, job_id)
        return version

    def _record(self) -> dict[str, Any]:
        """What is there now, beside what comes."""
        masks = _masks_now(self.state, sorted({frame for frame, _ in (*self.masks, *self.kept)}))
        frames = _frames_now(self.state, sorted(self.frames))
        before = self.state.row.objects
        return {
            "masks": [
                [frame, number, masks.get((frame, number), _NO_MASK), after]
                for (frame, number), after in self.masks.items()
            ]
            + [
                [frame, number, now := masks.get((frame, number), _NO_MASK), now]
                for frame, number in sorted(self.kept)
            ],
            "frames": [
                [frame, frames.get(frame) or _as_base(self.state, frame), after]
                for frame, after in self.frames.items()
            ],
            "objects": None if self.objects is None else [before, self.objects],
        }

    def _upsert(self, model: type[SessionMask | SessionFrame], rows: Sequence[Any]) -> None:
        table = model.__table__
        assert isinstance(table, Table)
        session, row = self.state.session, self.state.row
        common = {"job_id": row.job_id, "version": row.version}
        keys = [column.name for column in table.primary_key]
        other = session.get_bind().dialect.name == "postgresql"
        insert = postgresql.insert(table) if other else sqlite.insert(table)
        kept = {c.name: insert.excluded[c.name] for c in table.columns if c.name not in keys}
        for begin in range(0, len(rows), _AT_ONCE):
            part = [{**each, **common} for each in rows[begin : begin + _AT_ONCE]]
            session.connection().execute(
                insert.on_conflict_do_update(index_elements=keys, set_=kept), part
            )


def take_back(state: State, way: Literal["undo", "redo"]) -> tuple[int, list[int]]:
    """Undo the acting person's last change, or redo the last that they undid.

    What somebody changed since stays as it is; what an engine computed since gives way where the
    frame becomes a person's again. Returns the new version and the frames that changed. Raises
    ConflictError where there is nothing to take back.
    """
    session, row = state.session, state.row
    edit = _next(session, row.job_id, way)
    if edit is None:
        raise ConflictError(
            "There is nothing of yours to undo here."
            if way == "undo"
            else "There is nothing to redo: a change that you undid is redone as long as you make "
            "no other."
        )
    record = json.loads(zlib.decompress(edit.change))
    now, then = (1, 0) if way == "undo" else (0, 1)  # places in a pair
    frames = sorted({each[0] for each in (*record["masks"], *record["frames"])})
    masks_now, frames_now = _masks_now(state, frames), _frames_now(state, frames)
    frames_now = {frame: frames_now.get(frame) or _as_base(state, frame) for frame in frames}
    change, again = Change(state), set[int]()
    for frame, *pair in record["frames"]:
        (key, standing, _), (was_key, was, _), wanted = frames_now[frame], pair[now], pair[then]
        if wanted[0] and not key and not was_key:
            again.add(frame)
            change.frames[frame] = (True, wanted[1] if standing == was else standing, "")
        elif (key, standing) == (was_key, was):
            change.frames[frame] = (wanted[0], wanted[1], wanted[2])
    for frame, number, *pair in record["masks"]:
        stands = masks_now.get((frame, number), _NO_MASK)
        if stands == tuple(pair[now]) or (frame in again and stands[0] != Origin.HUMAN):
            change.put(frame, number, Origin(pair[then][0]), pair[then][1])
    freed = [f for f, (key, *_) in change.frames.items() if frames_now[f][0] and not key]
    for frame, _ in _drawn_since(change, freed, edit.version):
        change.frames.pop(frame, None)  # it is somebody else's too
    if record["objects"] is not None:
        change.objects = _listed(row.objects, record["objects"][now], record["objects"][then])
        _keep_drawn(change)
    version = change.write(by_person=True)
    edit.undone = way == "undo"
    edit.version = version
    return version, change.changed


def can(session: Session, job_id: str, way: Literal["undo", "redo"]) -> bool:
    """Whether the acting person has something to undo or to redo."""
    return _next(session, job_id, way) is not None


def _next(session: Session, job_id: str, way: Literal["undo", "redo"]) -> SessionEdit | None:
    order = SessionEdit.id.desc() if way == "undo" else SessionEdit.id.asc()
    return session.scalars(
        select(SessionEdit)
        .where(
            SessionEdit.job_id == job_id,
            SessionEdit.actor == audit.actor(),
            SessionEdit.undone.is_(way == "redo"),
        )
        .order_by(order)
        .limit(1)
    ).one_or_none()


def _drawn_since(change: Change, frames: Sequence[int], version: int) -> Iterator[tuple[int, int]]:
    """Frames and objects that people drew after a version, and that a change leaves alone."""
    state = change.state
    for begin in range(0, len(frames), _AT_ONCE):
        rows = state.session.execute(
            select(SessionMask.frame, SessionMask.object).where(
                SessionMask.job_id == state.row.job_id,
                SessionMask.frame.in_(frames[begin : begin + _AT_ONCE]),
                SessionMask.version > version,
                SessionMask.origin == Origin.HUMAN.value,
                SessionMask.mask != "",
            )
        )
        for frame, number in rows:
            if (frame, number) not in change.masks:
                yield frame, number


def _keep_drawn(change: Change) -> None:
    """Leave objects in the list that would go while a person's frames show them.

    What was only computed of an object that goes is forgotten.
    """
    state, listed = change.state, change.objects or []
    there = {each["number"] for each in listed}
    going = [each for each in state.row.objects if each["number"] not in there]
    if not going:
        return
    keys = set(state.key_frames())
    for frame, (key, *_) in change.frames.items():
        (keys.add if key else keys.discard)(frame)
    for each in going:
        rows = state.session.execute(
            select(SessionMask.frame, SessionMask.origin).where(
                SessionMask.job_id == state.row.job_id,
                SessionMask.object == each["number"],
                SessionMask.mask != "",
            )
        )
        left = [(f, origin) for f, origin in rows if (f, each["number"]) not in change.masks]
        if any(origin == Origin.HUMAN or frame in keys for frame, origin in left):
            listed = [*listed, each]
            continue
        for frame, _ in left:
            change.put(frame, each["number"], Origin.NONE)
    change.objects = sorted(listed, key=lambda each: each["number"])


def _listed(
    now: Sequence[dict[str, Any]],
    was: Iterable[dict[str, Any]],
    then: Iterable[dict[str, Any]],
) -> list[dict[str, Any]]:
    """The objects of now, those taken back that a change made others and nobody changed since."""
    left = {each["number"]: each for each in was}
    right = {each["number"]: each for each in then}
    found = {each["number"]: each for each in now}
    for number in left.keys() | right.keys():
        if left.get(number) == right.get(number) or found.get(number) != left.get(number):
            continue
        if number in right:
            found[number] = right[number]
        else:
            del found[number]
    return [found[number] for number in sorted(found)]


def _masks_now(state: State, frames: Sequence[int]) -> dict[tuple[int, int], MaskRow]:
    found: dict[tuple[int, int], MaskRow] = {}
    for begin in range(0, len(frames), _AT_ONCE):
        rows = state.session.execute(
            select(
                SessionMask.frame, SessionMask.object, SessionMask.origin, SessionMask.mask
            ).where(
                SessionMask.job_id == state.row.job_id,
                SessionMask.frame.in_(frames[begin : begin + _AT_ONCE]),
            )
        )
        found |= {(row.frame, row.object): (row.origin, row.mask) for row in rows}
    return found


def _frames_now(state: State, frames: Sequence[int]) -> dict[int, FrameRow]:
    found: dict[int, FrameRow] = {}
    for begin in range(0, len(frames), _AT_ONCE):
        rows = state.session.execute(
            select(
                SessionFrame.frame, SessionFrame.key, SessionFrame.state, SessionFrame.trail
            ).where(
                SessionFrame.job_id == state.row.job_id,
                SessionFrame.frame.in_(frames[begin : begin + _AT_ONCE]),
            )
        )
        found |= {row.frame: (row.key, row.state, row.trail) for row in rows}
    return found


def _as_base(state: State, frame: int) -> FrameRow:
    return (frame in state.head.keys, AS_BASE, "")


def _forget_old(session: Session, job_id: str) -> None:
    """Forget the oldest changes, until neither their number nor their bytes are too many."""
    packed = session.execute(
        select(SessionEdit.id, func.length(SessionEdit.change))
        .where(SessionEdit.job_id == job_id)
        .order_by(SessionEdit.id.desc())
    )
    total = 0
    for place, (oldest, size) in enumerate(packed.all()):
        total += size
        if place >= MOST_EDITS or (place and total > MOST_EDITS_BYTES):
            session.execute(
                delete(SessionEdit).where(SessionEdit.job_id == job_id, SessionEdit.id <= oldest)
            )
            return
