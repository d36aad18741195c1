"""`Sessions`: everything that pages and API do with live sessions, in one place.

Thread-safe. Methods raise InputError (NotFoundError, ConflictError) with the sentence to show.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from types import MappingProxyType
from typing import Any, Literal

from sqlalchemy import delete, func, select
from sqlalchemy.orm import Session

from errors import ConflictError, InputError, NotFoundError
from jobs import audit, session_edits, session_objects, session_steps, store
from jobs.db import db_now
from jobs.frames_text import format_frames
from jobs.session_change import Change, Done, can, take_back
from jobs.session_edits import NewMask, RangeAction
from jobs.session_masks import mask_from, to_dict
from jobs.session_models import (
    LiveSession,
    SessionFrame,
    SessionMask,
    SessionPerson,
    SessionStep,
)
from jobs.session_room import SessionRoom
from jobs.session_start import stale
from jobs.session_state import State, frame_answer
from jobs.session_views import (
    AcceptedView,
    Changed,
    ChangesView,
    SessionLabel,
    SessionObject,
    SessionView,
)

THRESHOLD = 0.5  # divergence at which playing stops, unless a person says another
MOST_FRAMES = 200  # in one answer
PRESENT_SECONDS = 40.0  # who asked for changes within so long is there
_SEEN_SECONDS = 10.0  # between two notes that somebody is there
_LINGERS_SECONDS = 3.0  # after a request its worker looks for the next one, unasked

OBJECT_ACTIONS: Mapping[str, Callable[..., Done]] = MappingProxyType(
    {
        "add": session_objects.add,  # name, label
        "rename": session_objects.rename,  # number, name
        "relabel": session_objects.relabel,  # number, label
        "merge": session_objects.merge,  # numbers, into
        "split": session_objects.split,  # number, frame
        "end": session_objects.end,  # number, frame
        "start": session_objects.start,  # number, frame
    }
)
"""What can be done with objects, and with which arguments."""


class Sessions(SessionRoom):
    """What people and programs do with the live sessions of one installation's jobs."""

    # -- reading ---------------------------------------------------------------------------------

    def view(self, job_id: str) -> SessionView:
        """The session of a job, which begins where there is none yet. Raises InputError."""
        with self.reading(job_id) as state:
            session, row = state.session, state.row
            accepted = row.accepted
            return SessionView(
                version=row.version,
                began=row.began,
                engine=row.engine,
                segmenter=row.segmenter,
                learned=bool(row.learned),
                engines=(),
                objects=tuple(
                    SessionObject(
                        number=each["number"],
                        name=each["name"],
                        label=each["label"],
                        color=state.labels.get(each["label"], ""),
                    )
                    for each in row.objects
                ),
                labels=tuple(SessionLabel(name=n, color=c) for n, c in state.labels.items()),
                key_frames=tuple(state.key_frames()),
                computed=format_frames(state.known(), state.head.numbers.step),
                outdated=format_frames(state.outdated(), state.head.numbers.step),
                accepted=(
                    None
                    if accepted is None
                    else AcceptedView(until=accepted["until"], run=accepted["run"])
                ),
                changed=row.version > (row.began if accepted is None else accepted["version"]),
                can_undo=can(session, job_id, "undo"),
                can_redo=can(session, job_id, "redo"),
                stale=stale(session, row),
                worker=session_steps.worker_of(session, row),
                people=_people(session, job_id),
                busy=session_steps.busy(session, job_id),
                last=session_steps.ended(session, job_id),
                threshold=THRESHOLD,
            )

    def frame(self, job_id: str, frame: int) -> dict[str, Any]:
        """One frame with its masks. Raises InputError for one that is none of the job's."""
        with self.reading(job_id) as state:
            return frame_answer(state, state.frame(state.require_frame(frame)))

    def frames(self, job_id: str, first: int, last: int) -> list[dict[str, Any]]:
        """Frames from `first` to `last`, those that have an image; at most `MOST_FRAMES`."""
        with self.reading(job_id) as state:
            wanted = [frame for frame in state.head.frames if first <= frame <= last]
            return [frame_answer(state, each) for each in state.frames(wanted[:MOST_FRAMES])]

    def changes(self, job_id: str, since: int, client: str = "") -> ChangesView:
        """What changed after the version `since`; `client`: the page that asks, if it says so."""
        with self._database.read() as session:
            if session.get(LiveSession, job_id) is None:
                raise _not_begun(session, job_id)
        with self.reading(job_id) as state:  # it may be just beginning anew
            session, row = state.session, state.row
            frames: set[int] = set()
            if since < row.began:
                frames.update(state.head.numbers)
            elif since < row.version:
                for table in (SessionFrame, SessionMask):
                    frames.update(
                        session.scalars(
                            select(table.frame)
                            .where(table.job_id == job_id, table.version > since)
                            .distinct()
                        )
                    )
            return ChangesView(
                version=row.version,
                frames=format_frames(sorted(frames), state.head.numbers.step),
                objects=row.listed > since,
                busy=session_steps.busy(session, job_id),
                last=session_steps.ended(session, job_id),
                worker=session_steps.worker_of(session, row),
                people=_people(session, job_id, client),
            )

    def version(self, job_id: str) -> tuple[int, object]:
        """The session's version, and what else wakes those who wait for changes; cheap."""
        with self._database.read() as session:
            asked = (
                select(func.max(SessionStep.id))
                .where(SessionStep.job_id == job_id)
                .scalar_subquery()
            )
            found = session.execute(
                select(LiveSession.version, LiveSession.updated, LiveSession.served, asked).where(
                    LiveSession.job_id == job_id
                )
            ).one_or_none()
            if found is None:
                raise _not_begun(session, job_id)
            return found.version, tuple(found[1:])

    def lately(self, seconds: float) -> dict[str, int]:
        """Versions of sessions that changed within so many seconds, by job."""
        with self._database.read() as session:
            rows = session.execute(
                select(LiveSession.job_id, LiveSession.version).where(
                    LiveSession.updated > db_now() - seconds
                )
            )
            return {row.job_id: row.version for row in rows}

    def see(self, job_id: str, client: str) -> None:
        """Note that somebody looks at a session: who acts, on the page `client`."""
        with self._database.read() as session:
            known = session.get(SessionPerson, (job_id, client))
            at = store.now(session)
            exists = session.get(LiveSession, job_id) is not None
        who = audit.actor()
        if not exists or (known and known.name == who and at - known.seen < _SEEN_SECONDS):
            return
        with self._database.write() as session:
            if session.get(LiveSession, job_id) is None:
                return
            if known is None:  # who waits for changes is told that somebody came
                session.get_one(LiveSession, job_id).updated = at
            session.merge(SessionPerson(job_id=job_id, client=client, name=who, seen=at))
            session.execute(
                delete(SessionPerson).where(SessionPerson.seen < db_now() - 10 * PRESENT_SECONDS)
            )

    # -- changing --------------------------------------------------------------------------------

    def edit(self, job_id: str, frame: int, masks: Sequence[dict[str, Any]]) -> Changed:
        """Set masks of objects on a frame, which becomes a person's; see `session_edits.edit`.

        `masks`: each with `object` and either `box` and `runs` or `mask` None, and maybe `under`.
        """
        # Masks of megabytes take seconds, in which nobody must wait for their turn to write.
        with self.reading(job_id) as state:
            state.require_frame(frame)
            for each in masks:
                state.require_object(each["object"])
            size = state.head.width, state.head.height
        new = [
            NewMask(
                each["object"],
                None if "box" not in each else mask_from(each, *size),
                bool(each.get("under", False)),
            )
            for each in masks
        ]

        def do(state: State) -> Done:
            if (state.head.width, state.head.height) != size:
                raise ConflictError(
                    "This session has begun anew with frames of another size: look at it and draw "
                    "again."
                )
            return session_edits.edit(state, frame, new)

        return self._change(job_id, "edit", do)

    def copy(
        self, job_id: str, frame: int, source: int, objects: Collection[int] | None
    ) -> Changed:
        """Take masks over from another frame."""
        return self._change(
            job_id, "copy", lambda state: session_edits.copy(state, frame, source, objects)
        )

    def set_key(self, job_id: str, frame: int, key: bool) -> Changed:
        """Make a frame's masks a person's, or let them be computed again."""
        return self._change(job_id, "key", lambda state: session_edits.set_key(state, frame, key))

    def on_range(
        self,
        job_id: str,
        action: RangeAction,
        objects: Collection[int] | None,
        first: int,
        last: int,
    ) -> Changed:
        """Do something with objects on a range of frames."""
        return self._change(
            job_id,
            action.value,
            lambda state: session_edits.on_range(state, action, objects, first, last),
        )

    def on_objects(self, job_id: str, action: str, *arguments: Any) -> Changed:
        """Do something with objects; `action` and its arguments are those of `OBJECT_ACTIONS`."""
        do = OBJECT_ACTIONS[action]
        return self._change(job_id, action, lambda state: do(state, *arguments))

    def take_back(self, job_id: str, way: Literal["undo", "redo"]) -> Changed:
        """Undo or redo a change of the acting person. Raises ConflictError."""
        with self.changing(job_id) as state:
            version, frames = take_back(state, way)
            return Changed(version=version, changed=format_frames(frames, state.head.numbers.step))

    def choose_engine(self, job_id: str, engine: str, segmenter: str) -> Changed:
        """Follow objects with another engine from now on; "" leaves engine or segmenter as is."""
        with self.changing(job_id) as state:
            row = state.row
            if engine and engine != row.engine:
                row.engine, row.learned = engine, ""
            row.segmenter = segmenter or row.segmenter
            return Changed(version=Change(state).write(by_person=True), changed="")

    # -- asking workers --------------------------------------------------------------------------

    def ask_step(self, job_id: str, first: int, last: int, stop_at: float | None) -> int:
        """Ask for frames from `first` (where it starts) to `last`; returns the request's id.

        Raises ConflictError where no worker is there.
        """

        def asked(state: State) -> dict[str, Any]:
            for frame in (first, last):
                if frame not in state.head.numbers:
                    state.require_frame(frame)
            limit = {} if stop_at is None else {"stop_at": stop_at}
            return {"from": first, "to": last, **limit}

        return self._ask(job_id, "step", asked)

    def ask_prepare(self, job_id: str, frame: int, learn: bool) -> int:
        """Ask a worker to be ready for steps and clicks on a frame; `learn`: anew."""
        return self._ask(
            job_id,
            "prepare",
            lambda state: {"frame": state.require_frame(frame), "learn": learn},
        )

    def ask_segment(
        self,
        job_id: str,
        frame: int,
        points: Sequence[Sequence[float]],
        box: Sequence[float] | None,
        mended: int | None = None,
    ) -> int:
        """Ask for the mask that points (x, y, 1 on the object or 0 beside it) and a box mean.

        `mended`: the object whose mask on the frame is to be mended by them; None for a mask anew.
        """

        def asked(state: State) -> dict[str, Any]:
            width, height = state.head.width, state.head.height
            for x, y, _ in points:
                if not (0 <= x <= width and 0 <= y <= height):
                    raise InputError(
                        f"The point ({x:g}, {y:g}) lies outside the frame of {width} x {height} "
                        "pixels: click inside it."
                    )
            if box is not None and not (
                box[0] < width and box[1] < height and box[2] > 0 and box[3] > 0
            ):
                raise InputError(
                    f"The box lies outside the frame of {width} x {height} pixels: draw it inside."
                )
            wanted: dict[str, Any] = {
                "frame": state.require_frame(frame),
                "points": [list(point) for point in points],
                "box": None if box is None else list(box),
            }
            if mended is not None:
                state.require_object(mended)
                shown = state.frame(frame).mask_of(mended)
                wanted["start"] = None if shown is None else to_dict(shown.shape)
            return wanted

        return self._ask(job_id, "segment", asked)

    def step(self, job_id: str, step_id: int) -> tuple[str, dict[str, Any] | None, str]:
        """State, answer and error of a request. Raises NotFoundError."""
        with self._database.read() as session:
            return session_steps.look(session, job_id, step_id)

    def give_up(self, job_id: str, step_id: int) -> None:
        """Take back a request, unless a worker is at it."""
        with self._database.write() as session:
            session_steps.give_up(session, job_id, step_id)

    def stop(self, job_id: str) -> int:
        """End what workers do for a session at the frame at hand; returns how many requests."""
        with self._database.write() as session:
            store.get_job(session, job_id)
            return session_steps.stop(session, job_id)

    # -- inside ----------------------------------------------------------------------------------

    def _ask(self, job_id: str, kind: str, asked: Callable[[State], dict[str, Any]]) -> int:
        with self.changing(job_id) as state:
            step, at = session_steps.ask(state.session, job_id, kind, asked(state))
            served = state.row.served
        if served is None or not 0 <= at - served < _LINGERS_SECONDS:
            self._wake()
        return step

    def _change(self, job_id: str, kind: str, do: Callable[[State], Done]) -> Changed:
        with self.changing(job_id) as state:
            done = do(state)
            change, step = done.change, state.head.numbers.step
            if change.is_empty:
                return Changed(version=state.row.version, changed="")
            return Changed(
                version=change.do(kind),
                changed=format_frames(change.changed, step),
                key_frames=format_frames(done.keys, step),
                object=done.made,
            )


def _people(session: Session, job_id: str, client: str = "") -> tuple[str, ...]:
    """Who looks at a session, except on the page `client`."""
    rows = session.scalars(
        select(SessionPerson.name)
        .where(
            SessionPerson.job_id == job_id,
            SessionPerson.client != client,
            SessionPerson.seen > db_now() - PRESENT_SECONDS,
        )
        .order_by(SessionPerson.name, SessionPerson.client)
    )
    return tuple(rows)


def _not_begun(session: Session, job_id: str) -> NotFoundError:
    """What to say where there is no session; raises NotFoundError where there is no job either."""
    store.get_job(session, job_id)
    return NotFoundError(f"Nobody has opened the frames of job {job_id} yet: open its panel first.")
