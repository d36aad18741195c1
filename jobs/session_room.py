"""Where sessions live: begun at the first look, read and changed in transactions, accepted, reset.

Thread-safe. Methods raise InputError (NotFoundError, ConflictError) with the sentence to show.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from sqlalchemy import delete
from sqlalchemy.orm import Session

from config import Settings
from errors import ConflictError, InputError
from jobs import audit, session_accept, session_steps, store
from jobs.db import Database
from jobs.files import JobFiles
from jobs.frames_text import format_frames
from jobs.session_base import Base, write_base
from jobs.session_models import LiveSession, SessionEdit, SessionFrame, SessionMask
from jobs.session_start import Start, archive_path, base_inputs, base_path, find_start
from jobs.session_state import State
from jobs.session_views import Changed, Published

_BEGIN = 1  # version of a new session


class SessionRoom:
    """The live sessions of one installation's jobs, from beginning to end."""

    def __init__(
        self,
        settings: Settings,
        database: Database,
        files: JobFiles,
        wake: Callable[[], object] = lambda: None,
    ) -> None:
        """`wake`: tells workers that there is something to do."""
        self._wake = wake
        self._settings = settings
        self._database = database
        self._files = files

    def accept(self, job_id: str, until: int | None) -> Published:
        """Publish the frames up to `until` (None: all) as a run; once for the same masks.

        Raises ConflictError while somebody else does, on whatever machine.
        """
        self._ensure(job_id)
        with session_accept.alone(self._files, job_id):
            with self.reading(job_id) as state:
                if until is not None and state.require_frame(until) == state.head.numbers[-1]:
                    until = None
                session_accept.clear_up(state.session, self._files, job_id)
                run = session_accept.accepted_run(state.row, until)
            return _published(job_id, run or self._accept(job_id, until))

    def reset(self, job_id: str) -> Changed:
        """Begin anew from what is newest; all that was not accepted is lost."""
        with self._database.read() as session:
            begun = session.get(LiveSession, job_id) is not None
        if begun:
            with self._database.write() as session:
                job = store.get_job(session, job_id)
                row = session.get_one(LiveSession, job_id)
                fresh = self._make(session, job_id, find_start(session, self._files, job))
                for table in (SessionFrame, SessionMask, SessionEdit):
                    session.execute(delete(table).where(table.job_id == job_id))
                session_steps.drop_all(session, job_id)
                fresh.version = fresh.began = fresh.listed = fresh.edited = row.version + 1
                fresh.created, fresh.objects = row.created, []
                session.merge(fresh)
                audit.record(session, "reset", job_id)
        with self.reading(job_id) as state:
            return Changed(
                version=state.row.version,
                changed=format_frames(state.head.numbers, state.head.numbers.step),
            )

    @contextmanager
    def reading(self, job_id: str, *, frozen: bool = False) -> Iterator[State]:
        """The session's state, which begins where there is none yet.

        `frozen`: as of one moment, also on PostgreSQL. Raises InputError.
        """
        self._ensure(job_id)
        with self._database.read() as session:
            if frozen and session.get_bind().dialect.name == "postgresql":
                session.connection(execution_options={"isolation_level": "REPEATABLE READ"})
            yield self._state(session, job_id)

    @contextmanager
    def changing(self, job_id: str) -> Iterator[State]:
        """The session's state in a write transaction."""
        self._ensure(job_id)
        with self._database.write() as session:
            yield self._state(session, job_id)

    # -- inside ----------------------------------------------------------------------------------

    def _accept(self, job_id: str, until: int | None) -> int:
        """Write, verify and record a run; returns its number."""
        with self._database.write() as session:
            number = session_accept.reserve_number(session, self._files, job_id)
        with self.reading(job_id, frozen=True) as state:
            written = session_accept.write(
                state,
                self._files,
                number,
                session_accept.Accepted(
                    archive=archive_path(state.session, self._files, state.row),
                    limits=self._settings.limits,
                    until=until,
                ),
            )
        try:
            with self._database.write() as session:
                session_accept.publish(session, job_id, written)
        except InputError:  # the session was reset or the job deleted: nobody will ask for it
            with self._database.read() as session:
                session_accept.clear_up(session, self._files, job_id)
            raise
        session_accept.settle(self._files, job_id, written)
        return number

    def _state(self, session: Session, job_id: str) -> State:
        row = session.get(LiveSession, job_id)
        if row is None:
            raise store.no_such_job(job_id)
        if not row.next_object:
            raise ConflictError("This session is just beginning anew: try again in a moment.")
        return State(session, row, self._base(row))

    def _base(self, row: LiveSession) -> Base:
        return Base(base_path(self._files, row))

    def _ensure(self, job_id: str) -> None:
        """Make sure that there is a session, and its base's file."""
        with self._database.read() as session:
            row = session.get(LiveSession, job_id)
            if row is not None and row.next_object and base_path(self._files, row).is_file():
                return
            job = store.get_job(session, job_id)
            fresh = row or self._make(session, job_id, find_start(session, self._files, job))
            path = base_path(self._files, fresh)
            inputs = base_inputs(session, self._files, self._settings, fresh)
        if not path.is_file():
            write_base(path, inputs)
        head = Base(path).head
        with self._database.write() as session:
            store.get_job(session, job_id)
            row = session.get(LiveSession, job_id)
            if row is None:
                fresh.version = fresh.began = _BEGIN
                session.add(fresh)
                row = fresh
            if not row.next_object:
                row.objects = list(head.objects)
                row.next_object = max((each["number"] for each in head.objects), default=0) + 1

    def _make(self, session: Session, job_id: str, start: Start) -> LiveSession:
        """A new row; its objects come with its base."""
        at = store.now(session)
        return LiveSession(
            job_id=job_id,
            revision=start.revision,
            images_revision=start.images_revision,
            run=start.run,
            base=start.base,
            created=at,
            updated=at,
            version=0,
            edited=0,
            listed=0,
            began=0,
            objects=[],
            next_object=0,
            engine=start.engine,
            segmenter="builtin",
            learned=start.learned,
            accepted=None,
            holder="",
            served=None,
        )


def _published(job_id: str, run: int) -> Published:
    return Published(run=run, result=f"/api/jobs/{job_id}/result.zip?run={run}")
