"""The tables of live sessions: what a person and an engine say of a job's frames, frame by frame.

A session has one row for each mask that is not as in the archive that it began from (its base), and
one for each frame whose standing differs. Every change gives the rows that it writes a new number
(`version`), so that whoever has seen the session up to one can ask what came after.
"""

from __future__ import annotations

from typing import Any

from sqlalchemy import (
    JSON,
    BigInteger,
    Boolean,
    Double,
    ForeignKey,
    Index,
    Integer,
    LargeBinary,
    String,
    Text,
    text,
)
from sqlalchemy.orm import Mapped, mapped_column

from jobs.models import Base

_KEY = BigInteger().with_variant(Integer(), "sqlite")
_OPEN = "state IN ('queued', 'leased')"


class LiveSession(Base):
    """The session of one job. `run`: whose result it began from; None: the export of `revision`.

    `base`: name of the file with the base's masks in the session's folder. `edited`: the version of
    the last change by a person, `listed`: of the last change of its objects, `began`: when it was
    made or reset. `holder`: which worker's loop served it last, `served`: when.
    """

    __tablename__ = "sessions"

    job_id: Mapped[str] = mapped_column(ForeignKey("jobs.id", ondelete="CASCADE"), primary_key=True)
    revision: Mapped[int] = mapped_column(Integer)
    images_revision: Mapped[int] = mapped_column(Integer)
    run: Mapped[int | None] = mapped_column(Integer)
    base: Mapped[str] = mapped_column(String(80))
    created: Mapped[float] = mapped_column(Double)
    updated: Mapped[float] = mapped_column(Double, index=True)
    version: Mapped[int] = mapped_column(BigInteger, default=0)
    edited: Mapped[int] = mapped_column(BigInteger, default=0)
    listed: Mapped[int] = mapped_column(BigInteger, default=0)
    began: Mapped[int] = mapped_column(BigInteger, default=0)
    objects: Mapped[list[dict[str, Any]]] = mapped_column(JSON)
    next_object: Mapped[int] = mapped_column(Integer)
    engine: Mapped[str] = mapped_column(String(80))
    segmenter: Mapped[str] = mapped_column(String(80))
    learned: Mapped[str] = mapped_column(Text, default="")  # a file in the job's folder
    accepted: Mapped[dict[str, Any] | None] = mapped_column(JSON)
    holder: Mapped[str] = mapped_column(String(80), default="")
    served: Mapped[float | None] = mapped_column(Double)


class SessionFrame(Base):
    """A frame that does not stand as in the base.

    `key`: whether its masks are a person's. `state`: "computed" by this session, "none" where what
    was computed is forgotten, "" as in the base. `trail`: what divergence needs to go on from here,
    as JSON.
    """

    __tablename__ = "session_frames"
    __table_args__ = (Index("ix_session_frames_version", "job_id", "version"),)

    job_id: Mapped[str] = mapped_column(
        ForeignKey("sessions.job_id", ondelete="CASCADE"), primary_key=True
    )
    frame: Mapped[int] = mapped_column(BigInteger, primary_key=True)
    key: Mapped[bool] = mapped_column(Boolean)
    state: Mapped[str] = mapped_column(String(12))
    trail: Mapped[str] = mapped_column(Text, default="")
    version: Mapped[int] = mapped_column(BigInteger)


class SessionMask(Base):
    """One object on one frame. `origin`: "human", "computed", "none" (forgotten) or "base".

    `mask`: as `jobs.session_masks` writes it; empty where the object is not on the frame.
    """

    __tablename__ = "session_masks"
    __table_args__ = (Index("ix_session_masks_version", "job_id", "version"),)

    job_id: Mapped[str] = mapped_column(
        ForeignKey("sessions.job_id", ondelete="CASCADE"), primary_key=True
    )
    frame: Mapped[int] = mapped_column(BigInteger, primary_key=True)
    object: Mapped[int] = mapped_column(Integer, primary_key=True)
    origin: Mapped[str] = mapped_column(String(12))
    mask: Mapped[str] = mapped_column(Text)
    version: Mapped[int] = mapped_column(BigInteger)


class SessionEdit(Base):
    """One change by a person, with what was before and what came after, packed."""

    __tablename__ = "session_edits"
    __table_args__ = (
        Index("ix_session_edits_actor", "job_id", "actor", "id"),
        {"sqlite_autoincrement": True},
    )

    id: Mapped[int] = mapped_column(_KEY, primary_key=True, autoincrement=True)
    job_id: Mapped[str] = mapped_column(ForeignKey("sessions.job_id", ondelete="CASCADE"))
    actor: Mapped[str] = mapped_column(Text)
    kind: Mapped[str] = mapped_column(String(20))
    version: Mapped[int] = mapped_column(BigInteger)  # of its latest doing or undoing
    undone: Mapped[bool] = mapped_column(Boolean, default=False)
    change: Mapped[bytes] = mapped_column(LargeBinary)


class SessionStep(Base):
    """What a worker is asked to do: `kind` is "step", "segment" or "prepare".

    `state`: queued, leased, done, failed or stopped. `stop`: a person wants it to end. `done`: how
    many frames, `at`: the last of them, `share`: how much of learning.
    """

    __tablename__ = "session_steps"
    __table_args__ = (
        Index(
            "ix_session_steps_open",
            "id",
            postgresql_where=text(_OPEN),
            sqlite_where=text(_OPEN),
        ),
        Index("ix_session_steps_job", "job_id", "id"),
        {"sqlite_autoincrement": True},
    )

    id: Mapped[int] = mapped_column(_KEY, primary_key=True, autoincrement=True)
    job_id: Mapped[str] = mapped_column(ForeignKey("sessions.job_id", ondelete="CASCADE"))
    kind: Mapped[str] = mapped_column(String(12))
    arguments: Mapped[dict[str, Any]] = mapped_column(JSON)
    actor: Mapped[str] = mapped_column(Text)
    state: Mapped[str] = mapped_column(String(12))
    created: Mapped[float] = mapped_column(Double)
    worker: Mapped[str] = mapped_column(Text, default="")
    lease_until: Mapped[float | None] = mapped_column(Double)
    fence: Mapped[int] = mapped_column(Integer, default=0)
    attempts: Mapped[int] = mapped_column(Integer, default=0)
    stop: Mapped[bool] = mapped_column(Boolean, default=False)
    done: Mapped[int] = mapped_column(Integer, default=0)
    at: Mapped[int | None] = mapped_column(BigInteger)
    share: Mapped[float] = mapped_column(Double, default=0.0)
    answer: Mapped[dict[str, Any] | None] = mapped_column(JSON)
    error: Mapped[str] = mapped_column(Text, default="")


class SessionPerson(Base):
    """Somebody who looks at a session. `client`: one page in one browser."""

    __tablename__ = "session_people"

    job_id: Mapped[str] = mapped_column(
        ForeignKey("sessions.job_id", ondelete="CASCADE"), primary_key=True
    )
    client: Mapped[str] = mapped_column(String(40), primary_key=True)
    name: Mapped[str] = mapped_column(Text)
    seen: Mapped[float] = mapped_column(Double)
