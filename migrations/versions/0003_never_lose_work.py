"""Priorities and fair shares, tokens, audits, uploads in pieces, workers' troubles, tallies.

Revision: 0003, follows: 0002.
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None

_KEY = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
_OPEN = {"postgresql_where": sa.text("open"), "sqlite_where": sa.text("open")}
_LEASED = {
    "postgresql_where": sa.text("state = 'leased'"),
    "sqlite_where": sa.text("state = 'leased'"),
}


def upgrade() -> None:
    """Add the columns and tables; runs that wait or run now keep their place."""
    none = sa.text("false") if op.get_bind().dialect.name == "postgresql" else sa.text("0")
    op.add_column(
        "jobs", sa.Column("state", sa.String(length=12), nullable=False, server_default="ready")
    )
    op.execute(
        "UPDATE jobs SET state = coalesce((SELECT CASE WHEN revisions.refused <> '' THEN 'failed'"
        " WHEN runs.id IS NULL THEN 'ready' WHEN runs.state = 'done' THEN 'completed'"
        " WHEN runs.state = 'cancelled' THEN 'failed' ELSE runs.state END"
        " FROM revisions LEFT JOIN runs"
        " ON runs.job_id = revisions.job_id AND runs.number = jobs.run"
        " WHERE revisions.job_id = jobs.id AND revisions.number = jobs.revision), 'ready')"
    )
    op.create_index("ix_jobs_shown", "jobs", ["deleted", "state", "updated"], unique=False)
    op.add_column("runs", sa.Column("priority", sa.Integer(), nullable=False, server_default="2"))
    op.add_column("runs", sa.Column("leased", sa.Integer(), nullable=False, server_default="0"))
    op.add_column("runs", sa.Column("open", sa.Boolean(), nullable=False, server_default=none))
    op.add_column("runs", sa.Column("waiting_since", sa.Double(), nullable=True))
    op.add_column("workers", sa.Column("trouble", sa.Text(), nullable=False, server_default=""))
    op.add_column("workers", sa.Column("gpu_bytes", sa.BigInteger(), nullable=True))
    op.add_column("workers", sa.Column("gpu_bytes_total", sa.BigInteger(), nullable=True))
    op.execute(
        "UPDATE runs SET leased = (SELECT count(*) FROM spans"
        " WHERE spans.run_id = runs.id AND spans.state = 'leased')"
    )
    # Whether a span can be claimed is settled by the next claim: a run that is open without one is
    # closed then.
    op.execute(
        "UPDATE runs SET open = (1 = 1), waiting_since = created"
        " WHERE state IN ('queued', 'running')"
    )
    op.create_index("ix_runs_next", "runs", ["priority", "leased", "id"], unique=False, **_OPEN)
    op.create_index("ix_runs_waiting", "runs", ["waiting_since"], unique=False, **_OPEN)
    op.drop_index("ix_spans_state_run", "spans")
    op.create_index("ix_spans_run_state", "spans", ["run_id", "state", "ordinal"], unique=False)
    op.create_index("ix_spans_lease", "spans", ["lease_until"], unique=False, **_LEASED)
    op.create_table(
        "tokens",
        sa.Column("name", sa.String(length=80), nullable=False),
        sa.Column("role", sa.String(length=12), nullable=False),
        sa.Column("digest", sa.String(length=64), nullable=False),
        sa.Column("created", sa.Double(), nullable=False),
        sa.Column("last_used", sa.Double(), nullable=True),
        sa.Column("revoked", sa.Double(), nullable=True),
        sa.PrimaryKeyConstraint("name"),
        sa.UniqueConstraint("digest"),
    )
    op.create_table(
        "audits",
        sa.Column("id", _KEY, autoincrement=True, nullable=False),
        sa.Column("at", sa.Double(), nullable=False),
        sa.Column("actor", sa.Text(), nullable=False),
        sa.Column("action", sa.String(length=40), nullable=False),
        sa.Column("job_id", sa.String(length=80), nullable=False),
        sa.Column("detail", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("id"),
        sqlite_autoincrement=True,
    )
    op.create_index(op.f("ix_audits_at"), "audits", ["at"], unique=False)
    op.create_table(
        "uploads",
        sa.Column("id", sa.String(length=32), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("bytes", sa.BigInteger(), nullable=False),
        sa.Column("created", sa.Double(), nullable=False),
        sa.Column("updated", sa.Double(), nullable=False),
        sa.Column("job_id", sa.String(length=80), nullable=False),
        sa.Column("error", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("id"),
    )
    op.create_index(op.f("ix_uploads_updated"), "uploads", ["updated"], unique=False)


def downgrade() -> None:
    """Take them away again."""
    for table in ("uploads", "audits", "tokens"):
        op.drop_table(table)
    op.execute("UPDATE runs SET state = 'queued' WHERE state = 'paused'")
    op.execute("DELETE FROM counters WHERE name <> 'changed'")
    op.drop_index("ix_spans_lease", "spans")
    op.drop_index("ix_spans_run_state", "spans")
    op.create_index("ix_spans_state_run", "spans", ["state", "run_id"], unique=False)
    op.drop_index("ix_jobs_shown", "jobs")
    op.drop_column("jobs", "state")
    op.drop_index("ix_runs_waiting", "runs")
    op.drop_index("ix_runs_next", "runs")
    for column in ("gpu_bytes_total", "gpu_bytes", "trouble"):
        op.drop_column("workers", column)
    for column in ("waiting_since", "open", "leased", "priority"):
        op.drop_column("runs", column)
