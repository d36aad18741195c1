"""A session as one transaction sees it: its rows laid over its base, frame by frame."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import groupby
from typing import Any

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from errors import InputError, NotFoundError, one_line
from jobs.frames_text import describe
from jobs.session_base import Base
from jobs.session_masks import Origin, Shown, answer_of, from_dict, unpack
from jobs.session_models import LiveSession, SessionFrame, SessionMask

COMPUTED, FORGOTTEN, AS_BASE = "computed", "none", ""
"""`SessionFrame.state`."""

_AT_ONCE = 500  # frames whose rows are read at once


@dataclass(frozen=True, slots=True, kw_only=True)
class FrameState:
    """One frame as the session shows it.

    `key`: whether its masks are a person's. `known`: whether it is known what is there, also where
    that is nothing. `standing`: as `SessionFrame.state`. `gone`: objects that a person took off
    this frame, and the version of that. `trail`: what divergence goes on with, as JSON. `version`:
    of its last change, 0 for none.
    """

    frame: int
    key: bool
    known: bool
    standing: str
    masks: tuple[Shown, ...]
    gone: Mapping[int, int]
    trail: str
    version: int

    def mask_of(self, number: int) -> Shown | None:
        """An object's mask; None where it is not on the frame."""
        return next((shown for shown in self.masks if shown.number == number), None)


@dataclass(frozen=True, slots=True, kw_only=True)
class Outline:
    """One frame without its masks' pixels; `numbers`: of the objects that are on it, 0 too.

    All else is as in FrameState.
    """

    frame: int
    key: bool
    known: bool
    standing: str
    numbers: frozenset[int]
    gone: Mapping[int, int]
    trail: str


class State:
    """One session within a transaction."""

    def __init__(self, session: Session, row: LiveSession, base: Base) -> None:
        self.session = session
        self.row = row
        self.base = base
        self.head = base.head

    @property
    def objects(self) -> dict[int, dict[str, Any]]:
        """Objects by number: `number`, `name`, `label`."""
        return {each["number"]: each for each in self.row.objects}

    @cached_property
    def labels(self) -> dict[str, str]:
        """Names and colours of the labels that objects may have."""
        return {each["name"]: each["color"] for each in self.head.labels}

    def require_frame(self, frame: int) -> int:
        """Raise InputError unless it is a frame of the job that has an image."""
        if frame not in self.head.numbers:
            raise InputError(f"{frame} is no frame of the job: {describe(self.head.numbers)}.")
        if frame not in self.there:
            raise InputError(
                f"Frame {frame} has no image: it was deleted in CVAT; go to another frame."
            )
        return frame

    @cached_property
    def there(self) -> frozenset[int]:
        """Frames that have an image."""
        return frozenset(self.head.frames)

    def require_object(self, number: int) -> dict[str, Any]:
        """The object of that number. Raises NotFoundError."""
        found = self.objects.get(number)
        if found is None:
            known = ", ".join(str(each) for each in sorted(self.objects)) or "none yet"
            raise NotFoundError(
                f"There is no object {number} in this session (there are: {one_line(known, 120)}): "
                "add it first."
            )
        return found

    def frame(self, frame: int) -> FrameState:
        """One frame."""
        return next(self.frames([frame]))

    def outlines(self, frames: Sequence[int]) -> Iterator[Outline]:
        """The same as `frames`, many times faster: no run length is read."""
        for begin in range(0, len(frames), _AT_ONCE):
            part = frames[begin : begin + _AT_ONCE]
            rows, stands = self._marks(part), self._stands(part)
            for frame, items in self.base.items(part):
                stand, gone = stands.get(frame), dict[int, int]()
                key, standing = self._standing(frame, stand)
                numbers = {item["object"] for item in items}
                for _, number, origin, version, there in rows.get(frame, ()):
                    if origin != Origin.BASE:
                        (numbers.add if there else numbers.discard)(number)
                    if origin == Origin.HUMAN and not there:
                        gone[number] = version
                yield Outline(
                    frame=frame,
                    key=key,
                    known=self._knows(frame, key, standing),
                    standing=standing,
                    numbers=frozenset(numbers),
                    gone=gone,
                    trail="" if stand is None else stand.trail,
                )

    def frames(
        self, frames: Sequence[int], only: Collection[int] | None = None
    ) -> Iterator[FrameState]:
        """Some frames, in ascending order as given; rows are read some hundred frames at a time.

        `only`: the objects whose masks are wanted, None for all.
        """
        labels = {number: each["label"] for number, each in self.objects.items()}
        for begin in range(0, len(frames), _AT_ONCE):
            part = frames[begin : begin + _AT_ONCE]
            rows = self._rows(part, only)
            stands = self._stands(part)
            for frame, items in self.base.items(part):
                own = rows.get(frame, {})
                masks = [
                    from_dict(item, item["object"], frame)
                    for item in items
                    if only is None or item["object"] in only
                ]
                yield self._state(frame, masks, own, stands.get(frame), labels)

    def standing(self) -> dict[int, tuple[bool, str]]:
        """`key` and `state` of frames that do not stand as in the base."""
        rows = self.session.execute(
            select(SessionFrame.frame, SessionFrame.key, SessionFrame.state).where(
                SessionFrame.job_id == self.row.job_id
            )
        )
        return {frame: (key, state) for frame, key, state in rows}

    def key_frames(self) -> list[int]:
        """Frames whose masks are a person's, ascending."""
        standing = self.standing()
        keys = {frame for frame in self.head.keys if standing.get(frame, (True, ""))[0]}
        return sorted(keys | {frame for frame, (key, _) in standing.items() if key})

    def known(self) -> list[int]:
        """Frames on which it is known what is there, ascending."""
        standing = self.standing()
        known = {frame for frame in self.head.known if frame not in standing}
        known |= {
            frame for frame, (key, state) in standing.items() if self._knows(frame, key, state)
        }
        return sorted(known & self.there)

    def outdated(self) -> list[int]:
        """Computed frames whose nearest key frame before them was changed since, ascending."""
        versions = self._versions()
        keys = frozenset(self.key_frames())
        found, key = [], 0  # version of the key frame that was met last
        for frame in self.known():
            version = versions.get(frame, 0)
            if frame in keys:
                key = version
            elif version < key:
                found.append(frame)
        return found

    def _versions(self) -> dict[int, int]:
        """The versions of frames that are not as in the base."""
        found: dict[int, int] = {}
        for table in (SessionFrame, SessionMask):
            rows = self.session.execute(
                select(table.frame, func.max(table.version))
                .where(table.job_id == self.row.job_id)
                .group_by(table.frame)
            )
            for frame, version in rows:
                found[frame] = max(found.get(frame, 0), version)
        return found

    def _knows(self, frame: int, key: bool, state: str) -> bool:
        return key or state == COMPUTED or (state == AS_BASE and frame in self.head.known)

    def _standing(self, frame: int, stand: SessionFrame | None) -> tuple[bool, str]:
        if stand is None:
            return frame in self.head.keys, AS_BASE
        return stand.key, stand.state

    def _rows(
        self, frames: Sequence[int], only: Collection[int] | None
    ) -> dict[int, dict[int, SessionMask]]:
        wanted = select(SessionMask).where(
            SessionMask.job_id == self.row.job_id, SessionMask.frame.in_(frames)
        )
        if only is not None:
            wanted = wanted.where(SessionMask.object.in_(only))
        rows = self.session.scalars(
            wanted.order_by(SessionMask.frame, SessionMask.object).execution_options(
                populate_existing=True
            )
        )
        return {
            frame: {row.object: row for row in group}
            for frame, group in groupby(rows, key=lambda row: row.frame)
        }

    def _marks(self, frames: Sequence[int]) -> dict[int, list[Any]]:
        """Frame, object, origin, version and whether there is a mask, by frame."""
        table = SessionMask
        rows = self.session.execute(
            select(table.frame, table.object, table.origin, table.version, table.mask != "")
            .where(table.job_id == self.row.job_id, table.frame.in_(frames))
            .order_by(table.frame)
        )
        return {frame: list(group) for frame, group in groupby(rows, key=lambda row: row[0])}

    def _stands(self, frames: Sequence[int]) -> dict[int, SessionFrame]:
        rows = self.session.scalars(
            select(SessionFrame)
            .where(SessionFrame.job_id == self.row.job_id, SessionFrame.frame.in_(frames))
            .execution_options(populate_existing=True)
        )
        return {row.frame: row for row in rows}

    def _state(
        self,
        frame: int,
        base: Sequence[Shown],
        rows: Mapping[int, SessionMask],
        stand: SessionFrame | None,
        labels: Mapping[int, str],
    ) -> FrameState:
        found: list[Shown] = []
        seen: set[int] = set()
        for shown in base:
            row = rows.get(shown.number)
            seen.add(shown.number)
            if row is None or row.origin == Origin.BASE:
                found.append(shown)
            elif row.mask:
                found.append(_of_row(row))
        found += [
            _of_row(row)
            for number, row in rows.items()
            if number not in seen and row.mask and row.origin != Origin.BASE
        ]
        key, state = self._standing(frame, stand)
        return FrameState(
            frame=frame,
            key=key,
            known=self._knows(frame, key, state),
            standing=state,
            masks=tuple(_labelled(shown, labels) for shown in found),
            gone={
                number: row.version
                for number, row in rows.items()
                if row.origin == Origin.HUMAN and not row.mask
            },
            trail=stand.trail if stand is not None else "",
            version=max(
                (stand.version if stand is not None else 0, *(r.version for r in rows.values()))
            ),
        )


def frame_answer(state: State, found: FrameState) -> dict[str, Any]:
    """A frame as clients get it."""
    if found.key:
        origin = "human"
    elif found.standing == COMPUTED:
        origin = "computed"
    elif found.masks or found.known:
        origin = "export" if state.row.run is None else "result"
    else:
        origin = "none"
    return {
        "frame": found.frame,
        "key": found.key,
        "origin": origin,
        "version": found.version,
        "masks": [answer_of(shown, key=found.key) for shown in found.masks],
    }


def _of_row(row: SessionMask) -> Shown:
    return unpack(row.mask, row.object, row.frame, Origin(row.origin), row.version)


def _labelled(shown: Shown, labels: Mapping[int, str]) -> Shown:
    """A mask under its object's label, whatever that was when the mask was made."""
    label = labels.get(shown.number, shown.shape.label)
    if label == shown.shape.label:
        return shown
    # Another label has other attributes.
    return replace(shown, shape=replace(shown.shape, label=label, attributes=()))
