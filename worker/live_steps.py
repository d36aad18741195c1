"""Steps of a live session: a pass goes from frame to frame, and stores each as it is done."""

from __future__ import annotations

import time
from bisect import bisect_left, bisect_right
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, suppress
from dataclasses import asdict
from enum import Enum, auto
from typing import Any

from sqlalchemy.orm import Session

from errors import InputError
from jobs.db import Database
from jobs.session_change import Change
from jobs.session_masks import IGNORED, Origin, pack
from jobs.session_models import LiveSession
from jobs.session_state import COMPUTED, FrameState, State
from tracker.protocol import Propagator
from worker import live_leases
from worker.live_beat import LiveBeat
from worker.live_desk import Desk
from worker.live_leases import StepLease
from worker.live_pass import Made, Pass, nothing_made

_PATIENCE = 0.15  # seconds that others' requests wait for a frame-by-frame run to end by itself
_AHEAD = 2  # frames that are decoded before they are asked for

Turn = Callable[[], AbstractContextManager[Session]]
"""One write transaction."""


class GoneError(Exception):
    """The session is not what it was: it was reset, or its job was deleted."""


class LostError(Exception):
    """The lease is somebody else's: nothing may be written any more."""


class Outcome(Enum):
    """How a request ended."""

    RECORDED = auto()  # what became of it stands in its row
    HANDED_BACK = auto()  # to be gone on with later, by whomever


class Steps:
    """Does one request for steps."""

    def __init__(
        self,
        database: Database,
        turn: Turn,
        desk: Desk,
        lease: StepLease,
        beat: LiveBeat,
        make: Callable[[], Propagator],
        asked: Mapping[str, Any],
    ) -> None:
        """`make`: a propagator of the session's engine. `asked`: `from`, `to`, maybe `stop_at`."""
        self._database = database
        self._turn = turn
        self._desk = desk
        self._lease = lease
        self._beat = beat
        self._make = make
        self._began = time.perf_counter()
        self._model = 0.0  # seconds of the engine that no frame was told of yet
        self._first: int = asked["from"]
        self._last: int = asked["to"]
        self._limit: float | None = asked.get("stop_at")
        self._forward = self._last >= self._first
        self._done = lease.done
        self._answer: dict[str, Any] | None = None

    def run(self) -> Outcome:
        """Step to the last frame; raises InputError where there is nothing to start from."""
        passing = self._reach(self._first if self._lease.at is None else self._lease.at)
        while True:
            if self._beat.should_stop():
                return self._end_early()
            frame = self._next(passing.at)
            if frame is None:
                with self._turn() as session:
                    live_leases.end(session, self._lease, answer=self._answer)
                return Outcome.RECORDED
            with self._database.read() as session:
                state = self._state(session)
                found, edited = state.frame(frame), state.row.edited
                others = self._others_wait(session)
            if edited != passing.edited:
                passing = self._reach(passing.at, known=passing)
                continue
            if others and self._done > self._lease.done:
                return Outcome.HANDED_BACK
            ended = self._cross(passing, found) if found.key else self._step(passing, found)
            if ended is not None:
                return ended

    def warm(self) -> None:
        """Be ready to step on from the first frame, where there is anything to step from."""
        with suppress(InputError):
            self._reach(self._first)

    # -- from frame to frame -----------------------------------------------------------------------

    def _step(self, passing: Pass, found: FrameState) -> Outcome | None:
        """Compute a frame and store it; None where the pass goes on (or has to be begun anew)."""
        ahead = self._ahead(found.frame)
        made = passing.step(found, ahead)
        self._model += made.model
        with self._turn() as session:
            state = self._state(session)
            if state.row.edited != passing.edited:
                return None  # somebody was faster: the next look begins anew
            stored = _store(state, made)
            ended = self._record(session, made)
        passing.take(found.frame, stored)
        return ended

    def _cross(self, passing: Pass, found: FrameState) -> Outcome | None:
        """Take a person's frame as the new start: nothing is written onto it."""
        began = time.perf_counter()
        passing.cross(found)
        self._desk.pictures.want(self._ahead(found.frame))
        self._model += time.perf_counter() - began
        with self._turn() as session:
            return self._record(session, nothing_made(found.frame))

    def _record(self, session: Session, made: Made) -> Outcome | None:
        """Note how far the request is, and its end where this is it."""
        asked = self._is_asked(made.frame)
        if asked and self._answer is None:
            total = time.perf_counter() - self._began
            self._answer = {
                "frame": made.frame,
                "seconds": {"model": round(self._model, 4), "total": round(total, 4)},
            }
        self._done += 1
        values: dict[str, Any] = {"at": made.frame, "done": self._done}
        if self._answer is not None:
            values["answer"] = self._answer
        self._beat.heard(live_leases.keep(session, self._lease, **values))
        if self._beat.lost:
            raise LostError
        if (stopped := self._drifted(made)) is not None and asked:
            self._answer = {**(self._answer or {}), "stopped": stopped}
            live_leases.end(session, self._lease, answer=self._answer)
            return Outcome.RECORDED
        if self._beat.unwanted:
            live_leases.end(session, self._lease, stopped=True)
            return Outcome.RECORDED
        if self._next(made.frame) is None:
            live_leases.end(session, self._lease, answer=self._answer)
            return Outcome.RECORDED
        return None

    def _drifted(self, made: Made) -> dict[str, Any] | None:
        """The object that is most in doubt, where that reaches the limit of the request."""
        worst = max(made.scores, key=lambda score: score.score, default=None)
        if self._limit is None or worst is None or worst.score < self._limit:
            return None
        return {"frame": made.frame, **asdict(worst)}

    def _end_early(self) -> Outcome:
        if self._beat.lost:
            raise LostError
        if not self._beat.unwanted:
            return Outcome.HANDED_BACK
        with self._turn() as session:
            live_leases.end(session, self._lease, stopped=True)
        return Outcome.RECORDED

    # -- where to start ----------------------------------------------------------------------------

    def _reach(self, frame: int, known: Pass | None = None) -> Pass:
        """A pass that is at `frame`, or at the nearest frame on the way of which masks are known.

        That of the last request is taken where it is there, and nobody has changed anything since.
        """
        kept = self._desk.kept.get("pass")
        with self._database.read() as session:
            state = self._state(session)
            edited = state.row.edited
            if (
                known is None
                and isinstance(kept, Pass)
                and (kept.at, kept.forward, kept.edited) == (frame, self._forward, edited)
                and self._stands(state, frame, kept)
            ):
                return kept
            key, between = self._way(state, frame)
        self._desk.kept.pop("pass", None)
        began = time.perf_counter()
        passing = known or Pass(self._make(), self._desk.pictures, forward=self._forward)
        passing.begin(key, between if passing.replays else between[-1:], edited)
        self._desk.pictures.want(self._ahead(passing.at))
        self._model += time.perf_counter() - began
        self._desk.kept["pass"] = passing
        return passing

    def _stands(self, state: State, frame: int, kept: Pass) -> bool:
        """Whether a frame is as the pass left it: another request may have computed it anew."""
        found = state.frame(frame)
        return found.key or found.version == kept.stored

    def _way(self, state: State, frame: int) -> tuple[FrameState, list[FrameState]]:
        """The key frame to start from, and the frames from there to the one to go on from."""
        sequence = self._sequence
        known = frozenset(state.known())
        place = self._place(frame)
        while place >= 0 and sequence[place] not in known:
            place -= 1
        keys = frozenset(state.key_frames())
        start = place
        while start >= 0 and sequence[start] not in keys:
            start -= 1
        if place >= 0 and start < 0:
            # No key frame lies behind: the masks of the frame itself are all there is.
            start = place
        if place >= 0:
            found = list(state.frames(sorted(sequence[start : place + 1])))
            ordered = found if self._forward else found[::-1]
            if any(shown.number != IGNORED for shown in (*ordered[0].masks, *ordered[-1].masks)):
                return ordered[0], ordered[1:]
        before = "before" if self._forward else "behind"
        raise InputError(
            f"There is no mask on frame {frame}, nor {before} it: draw one there, or start from a "
            "frame that has some."
        )

    # -- order -------------------------------------------------------------------------------------

    @property
    def _sequence(self) -> Sequence[int]:
        """Frames with an image in the order of the pass."""
        frames = self._desk.pictures.frames
        return frames if self._forward else frames[::-1]

    def _place(self, frame: int) -> int:
        """Where in the sequence a frame is, or the last one that the pass visits before it."""
        frames = self._desk.pictures.frames
        if self._forward:
            return bisect_right(frames, frame) - 1
        return len(frames) - 1 - bisect_left(frames, frame)

    def _next(self, frame: int) -> int | None:
        place = self._place(frame) + 1
        if place >= len(self._sequence):
            return None
        found = self._sequence[place]
        beyond = found > self._last if self._forward else found < self._last
        return None if beyond else found

    def _ahead(self, frame: int) -> Sequence[int]:
        place = self._place(frame) + 1
        return self._sequence[place : place + _AHEAD]

    def _is_asked(self, frame: int) -> bool:
        """Whether a frame is one of those asked for, not one on the way there."""
        if self._first == self._last:
            return frame == self._last
        return frame > self._first if self._forward else frame < self._first

    # -- the session -------------------------------------------------------------------------------

    def _state(self, session: Session) -> State:
        return state_of(session, self._desk)

    def _others_wait(self, session: Session) -> bool:
        """Whether people wait for another session, whose turn it is then."""
        return live_leases.others_wait(session, self._lease.job_id, _PATIENCE)


def state_of(session: Session, desk: Desk) -> State:
    """The session of a desk in a transaction. Raises GoneError where it is another one."""
    row = session.get(LiveSession, desk.facts.job_id)
    if row is None or row.began != desk.facts.began:
        raise GoneError
    return State(session, row, desk.base)


def _store(state: State, made: Made) -> int:
    """Write a computed frame; returns the session's new version."""
    change = Change(state)
    for shown in made.masks:
        text = pack(shown.shape, shown.score, shown.why)
        change.put(made.frame, shown.number, Origin.COMPUTED, text)
    for number in made.cleared:
        change.put(made.frame, number, Origin.COMPUTED)
    change.frames[made.frame] = (False, COMPUTED, made.trail)
    return change.write(by_person=False)
