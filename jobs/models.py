"""The tables. Times are seconds since the epoch by the database's clock; sizes are bytes.

`spans` is the queue: a span row is claimed, leased, renewed, finished or handed back by single
statements that name the fence which the claim gave out (see worker.leases).
"""

from __future__ import annotations

from typing import Any

from sqlalchemy import (
    JSON,
    BigInteger,
    Boolean,
    Double,
    ForeignKey,
    ForeignKeyConstraint,
    Index,
    Integer,
    String,
    Text,
    UniqueConstraint,
    text,
)
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

ASSEMBLE = "assemble"
"""`spans.direction` of the last span of every run: writing and verifying the result."""

LEARN = "learn"
"""`spans.direction` of the first span of a run: the engine learns the objects from the key frames.

No other span of the run begins before it is done. Runs with nothing to compute have none, nor have
those that were queued before there was such a span: they wait for nothing.
"""

LEARN_ORDINAL = -1  # before all others, whose ordinals are those of the plan

_Key = BigInteger().with_variant(Integer(), "sqlite")


class Base(DeclarativeBase):
    """All tables; its metadata is what the migrations must build."""


class Counter(Base):
    """One row per counter; `changed`'s lock puts writers in the order in which they commit.

    The others are what has happened since the database was made (see `jobs.tally`).
    """

    __tablename__ = "counters"

    name: Mapped[str] = mapped_column(String(40), primary_key=True)
    value: Mapped[int] = mapped_column(BigInteger, default=0)


class Job(Base):
    """One CVAT job (or task), named by its archive.

    A deleted job leaves its row behind, hidden: `changed` then tells readers that it is gone, and
    the numbers of its revisions and runs are never given out twice, so that a worker which still
    computes for the old one cannot meet a file of the new one.
    """

    __tablename__ = "jobs"
    __table_args__ = (Index("ix_jobs_shown", "deleted", "state", "updated"),)

    id: Mapped[str] = mapped_column(String(80), primary_key=True)
    name: Mapped[str] = mapped_column(Text)
    created: Mapped[float] = mapped_column(Double)
    updated: Mapped[float] = mapped_column(Double, index=True)
    changed: Mapped[int] = mapped_column(BigInteger, default=0, index=True)
    deleted: Mapped[bool] = mapped_column(Boolean, default=False)
    revision: Mapped[int] = mapped_column(Integer, default=0)  # the latest one; 0 before the first
    run: Mapped[int | None] = mapped_column(Integer)  # the latest one on the latest revision
    runs_made: Mapped[int] = mapped_column(Integer, default=0)
    state: Mapped[str] = mapped_column(String(12), default="ready")  # kept by jobs.store.touch
    labels: Mapped[str] = mapped_column(Text, default="")  # drawn ones, see jobs.label_text


class Revision(Base):
    """One uploaded export. `file` is empty when it was refused: then only the sentence stays."""

    __tablename__ = "revisions"
    job_id: Mapped[str] = mapped_column(ForeignKey("jobs.id"), primary_key=True)
    number: Mapped[int] = mapped_column(Integer, primary_key=True)
    sha256: Mapped[str] = mapped_column(String(64))
    bytes: Mapped[int] = mapped_column(BigInteger)
    received: Mapped[float] = mapped_column(Double)
    source: Mapped[str] = mapped_column(Text)  # the archive's name with its ending, as given
    file: Mapped[str] = mapped_column(String(20))  # export.zip, export.xml or empty
    refused: Mapped[str] = mapped_column(Text, default="")
    summary: Mapped[dict[str, Any]] = mapped_column(JSON)


class Run(Base):
    """One execution on one revision. `plan` is RunPlan.to_json(), `options` a RunOptions."""

    __tablename__ = "runs"
    __table_args__ = (
        UniqueConstraint("job_id", "number"),
        ForeignKeyConstraint(
            ["job_id", "revision"], ["revisions.job_id", "revisions.number"], ondelete="CASCADE"
        ),
        # The order in which runs are served; see worker.leases.
        Index(
            "ix_runs_next",
            "priority",
            "leased",
            "id",
            postgresql_where=text("open"),
            sqlite_where=text("open"),
        ),
        Index(
            "ix_runs_waiting",
            "waiting_since",
            postgresql_where=text("open"),
            sqlite_where=text("open"),
        ),
        {"sqlite_autoincrement": True},
    )

    id: Mapped[int] = mapped_column(_Key, primary_key=True, autoincrement=True)
    job_id: Mapped[str] = mapped_column(String(80))
    number: Mapped[int] = mapped_column(Integer)
    revision: Mapped[int] = mapped_column(Integer)
    images_revision: Mapped[int] = mapped_column(Integer)  # whose export holds the images
    previous_run: Mapped[int | None] = mapped_column(Integer)  # whose result the plan builds on
    state: Mapped[str] = mapped_column(String(12), index=True)
    options: Mapped[dict[str, Any]] = mapped_column(JSON)
    engine: Mapped[str] = mapped_column(String(80))
    ignore_labels: Mapped[list[str]] = mapped_column(JSON)
    parallel_spans: Mapped[int] = mapped_column(Integer, default=0)
    priority: Mapped[int] = mapped_column(Integer, default=2)  # Priority.rank
    leased: Mapped[int] = mapped_column(Integer, default=0)  # spans that are leased now
    open: Mapped[bool] = mapped_column(Boolean, default=False)  # whether a span can be claimed now
    waiting_since: Mapped[float | None] = mapped_column(Double)  # while open: for a worker
    plan: Mapped[str] = mapped_column(Text, deferred=True)
    frames_total: Mapped[int] = mapped_column(Integer, default=0)
    created: Mapped[float] = mapped_column(Double)
    started: Mapped[float | None] = mapped_column(Double)
    resumed: Mapped[float | None] = mapped_column(Double)  # since when frames are computed
    frames_before: Mapped[int] = mapped_column(Integer, default=0)  # done before the last retry
    finished: Mapped[float | None] = mapped_column(Double)
    result_bytes: Mapped[int] = mapped_column(BigInteger, default=0)
    result_sha256: Mapped[str] = mapped_column(String(64), default="")
    flagged_frames: Mapped[int | None] = mapped_column(Integer)  # doubtful ones, once published
    # The frame to correct next as the published report has it; None where nothing would gain.
    next_frame: Mapped[dict[str, Any] | None] = mapped_column(JSON(none_as_null=True))
    delete_zip_due: Mapped[bool] = mapped_column(Boolean, default=False)
    error: Mapped[str] = mapped_column(Text, default="")
    notices: Mapped[list[str]] = mapped_column(JSON, default=list)  # see jobs.store_runs.tell


class Span(Base):
    """One unit of work. `fence` grows with every claim; only its holder may renew or finish."""

    __tablename__ = "spans"
    __table_args__ = (
        UniqueConstraint("run_id", "ordinal"),
        Index("ix_spans_run_state", "run_id", "state", "ordinal"),
        Index(
            "ix_spans_lease",
            "lease_until",
            postgresql_where=text("state = 'leased'"),
            sqlite_where=text("state = 'leased'"),
        ),
        {"sqlite_autoincrement": True},
    )

    id: Mapped[int] = mapped_column(_Key, primary_key=True, autoincrement=True)
    run_id: Mapped[int] = mapped_column(ForeignKey("runs.id", ondelete="CASCADE"))
    ordinal: Mapped[int] = mapped_column(Integer)
    start: Mapped[int] = mapped_column(BigInteger)
    stop: Mapped[int] = mapped_column(BigInteger)
    direction: Mapped[str] = mapped_column(String(12))
    state: Mapped[str] = mapped_column(String(12))
    attempts: Mapped[int] = mapped_column(Integer, default=0)
    fence: Mapped[int] = mapped_column(Integer, default=0)
    lease_until: Mapped[float | None] = mapped_column(Double)
    worker: Mapped[str] = mapped_column(Text, default="")
    frames_done: Mapped[int] = mapped_column(Integer, default=0)
    frames_total: Mapped[int] = mapped_column(Integer, default=0)
    seconds: Mapped[float] = mapped_column(Double, default=0.0)
    stages: Mapped[dict[str, Any]] = mapped_column(JSON, default=dict)
    device: Mapped[str] = mapped_column(Text, default="")
    file: Mapped[str] = mapped_column(Text, default="")  # its name in the run's spans folder
    error: Mapped[str] = mapped_column(Text, default="")


class Event(Base):
    """One line of a job's log."""

    __tablename__ = "events"
    __table_args__ = ({"sqlite_autoincrement": True},)

    id: Mapped[int] = mapped_column(_Key, primary_key=True, autoincrement=True)
    job_id: Mapped[str] = mapped_column(ForeignKey("jobs.id"), index=True)
    at: Mapped[float] = mapped_column(Double)
    text: Mapped[str] = mapped_column(Text)


class Worker(Base):
    """A worker that reported lately; it removes itself when it stops in good order."""

    __tablename__ = "workers"

    name: Mapped[str] = mapped_column(String(100), primary_key=True)
    host: Mapped[str] = mapped_column(String(255), primary_key=True)
    device: Mapped[str] = mapped_column(Text)
    last_seen: Mapped[float] = mapped_column(Double)
    doing: Mapped[str] = mapped_column(Text, default="")
    trouble: Mapped[str] = mapped_column(Text, default="")  # why it waits, such as a full disk
    gpu_bytes: Mapped[int | None] = mapped_column(BigInteger)  # in use on its device
    gpu_bytes_total: Mapped[int | None] = mapped_column(BigInteger)
    memory_bytes: Mapped[int | None] = mapped_column(BigInteger)  # of its process
    engines: Mapped[list[str]] = mapped_column(JSON, default=list)  # whose weights it has


class Token(Base):
    """A key of one person or program; only its digest is kept."""

    __tablename__ = "tokens"

    name: Mapped[str] = mapped_column(String(80), primary_key=True)
    role: Mapped[str] = mapped_column(String(12))  # viewer, annotator or admin
    digest: Mapped[str] = mapped_column(String(64), unique=True)  # SHA-256, hexadecimal
    created: Mapped[float] = mapped_column(Double)
    last_used: Mapped[float | None] = mapped_column(Double)
    revoked: Mapped[float | None] = mapped_column(Double)


class Audit(Base):
    """One action of a person or program: who did what, to which job."""

    __tablename__ = "audits"
    __table_args__ = ({"sqlite_autoincrement": True},)

    id: Mapped[int] = mapped_column(_Key, primary_key=True, autoincrement=True)
    at: Mapped[float] = mapped_column(Double, index=True)
    actor: Mapped[str] = mapped_column(Text)
    action: Mapped[str] = mapped_column(String(40))
    job_id: Mapped[str] = mapped_column(String(80), default="")  # may be deleted since
    detail: Mapped[str] = mapped_column(Text, default="")


class PartialUpload(Base):
    """An archive that arrives in pieces; its bytes lie in DATA_DIR/uploads under its id."""

    __tablename__ = "uploads"

    id: Mapped[str] = mapped_column(String(32), primary_key=True)
    name: Mapped[str] = mapped_column(Text)
    bytes: Mapped[int] = mapped_column(BigInteger)  # announced
    created: Mapped[float] = mapped_column(Double)
    updated: Mapped[float] = mapped_column(Double, index=True)
    job_id: Mapped[str] = mapped_column(String(80), default="")  # once it is taken in
    error: Mapped[str] = mapped_column(Text, default="")  # why it was not


class Notice(Base):
    """Something for people to see that belongs to no job. `source` replaces its own lines."""

    __tablename__ = "notices"

    source: Mapped[str] = mapped_column(String(40), primary_key=True)
    line: Mapped[int] = mapped_column(Integer, primary_key=True)
    text: Mapped[str] = mapped_column(Text)


class Arrival(Base):
    """A file in the downloads folder that was taken up: looked at again only when it changes."""

    __tablename__ = "arrivals"

    name: Mapped[str] = mapped_column(Text, primary_key=True)
    size: Mapped[int] = mapped_column(BigInteger)
    mtime_ns: Mapped[int] = mapped_column(BigInteger)
