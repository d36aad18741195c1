"""Live sessions: masks of a job frame by frame, what people changed, what workers are asked to do.

Revision: 0006, follows: 0005.
"""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa
from alembic import op

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None

_KEY = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
_OPEN = sa.text("state IN ('queued', 'leased')")


def upgrade() -> None:
    """Add the tables; no job has a session yet."""
    op.create_table(
        "sessions",
        sa.Column("job_id", sa.String(length=80), nullable=False),
        _whole("revision"),
        _whole("images_revision"),
        sa.Column("run", sa.Integer(), nullable=True),
        sa.Column("base", sa.String(length=80), nullable=False),
        sa.Column("created", sa.Double(), nullable=False),
        sa.Column("updated", sa.Double(), nullable=False),
        _large("version"),
        _large("edited"),
        _large("listed"),
        _large("began"),
        sa.Column("objects", sa.JSON(), nullable=False),
        _whole("next_object"),
        sa.Column("engine", sa.String(length=80), nullable=False),
        sa.Column("segmenter", sa.String(length=80), nullable=False),
        sa.Column("learned", sa.Text(), nullable=False),
        sa.Column("accepted", sa.JSON(), nullable=True),
        sa.Column("holder", sa.String(length=80), nullable=False),
        sa.Column("served", sa.Double(), nullable=True),
        sa.ForeignKeyConstraint(["job_id"], ["jobs.id"], ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("job_id"),
    )
    op.create_index(op.f("ix_sessions_updated"), "sessions", ["updated"], unique=False)
    _table(
        "session_frames",
        _large("frame"),
        sa.Column("key", sa.Boolean(), nullable=False),
        sa.Column("state", sa.String(length=12), nullable=False),
        sa.Column("trail", sa.Text(), nullable=False),
        _large("version"),
        key=("job_id", "frame"),
    )
    op.create_index(
        "ix_session_frames_version", "session_frames", ["job_id", "version"], unique=False
    )
    _table(
        "session_masks",
        _large("frame"),
        _whole("object"),
        sa.Column("origin", sa.String(length=12), nullable=False),
        sa.Column("mask", sa.Text(), nullable=False),
        _large("version"),
        key=("job_id", "frame", "object"),
    )
    op.create_index(
        "ix_session_masks_version", "session_masks", ["job_id", "version"], unique=False
    )
    _table(
        "session_edits",
        sa.Column("id", _KEY, autoincrement=True, nullable=False),
        sa.Column("actor", sa.Text(), nullable=False),
        sa.Column("kind", sa.String(length=20), nullable=False),
        _large("version"),
        sa.Column("undone", sa.Boolean(), nullable=False),
        sa.Column("change", sa.LargeBinary(), nullable=False),
        key=("id",),
        sqlite_autoincrement=True,
    )
    op.create_index(
        "ix_session_edits_actor", "session_edits", ["job_id", "actor", "id"], unique=False
    )
    _table(
        "session_steps",
        sa.Column("id", _KEY, autoincrement=True, nullable=False),
        sa.Column("kind", sa.String(length=12), nullable=False),
        sa.Column("arguments", sa.JSON(), nullable=False),
        sa.Column("actor", sa.Text(), nullable=False),
        sa.Column("state", sa.String(length=12), nullable=False),
        sa.Column("created", sa.Double(), nullable=False),
        sa.Column("worker", sa.Text(), nullable=False),
        sa.Column("lease_until", sa.Double(), nullable=True),
        _whole("fence"),
        _whole("attempts"),
        sa.Column("stop", sa.Boolean(), nullable=False),
        _whole("done"),
        sa.Column("at", sa.BigInteger(), nullable=True),
        sa.Column("share", sa.Double(), nullable=False),
        sa.Column("answer", sa.JSON(), nullable=True),
        sa.Column("error", sa.Text(), nullable=False),
        key=("id",),
        sqlite_autoincrement=True,
    )
    op.create_index(
        "ix_session_steps_open",
        "session_steps",
        ["id"],
        unique=False,
        postgresql_where=_OPEN,
        sqlite_where=_OPEN,
    )
    op.create_index("ix_session_steps_job", "session_steps", ["job_id", "id"], unique=False)
    _table(
        "session_people",
        sa.Column("client", sa.String(length=40), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("seen", sa.Double(), nullable=False),
        key=("job_id", "client"),
    )


def downgrade() -> None:
    """Take them away again."""
    for table in ("people", "steps", "edits", "masks", "frames"):
        op.drop_table(f"session_{table}")
    op.drop_table("sessions")


def _table(name: str, *columns: sa.Column[Any], key: tuple[str, ...], **options: Any) -> None:
    """A table of rows that belong to a session, and go with it."""
    op.create_table(
        name,
        sa.Column("job_id", sa.String(length=80), nullable=False),
        *columns,
        sa.ForeignKeyConstraint(["job_id"], ["sessions.job_id"], ondelete="CASCADE"),
        sa.PrimaryKeyConstraint(*key),
        **options,
    )


def _whole(name: str) -> sa.Column[Any]:
    return sa.Column(name, sa.Integer(), nullable=False)


def _large(name: str) -> sa.Column[Any]:
    return sa.Column(name, sa.BigInteger(), nullable=False)
