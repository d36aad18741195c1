"""What the dashboard shows and searches: labels, doubtful frames, and what workers have.

Revision: 0005, follows: 0004.
"""

from __future__ import annotations

import json

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Add the columns; jobs get their labels, and of earlier runs no doubt is known."""
    op.add_column("jobs", sa.Column("labels", sa.Text(), nullable=False, server_default=""))
    op.add_column("runs", sa.Column("flagged_frames", sa.Integer()))
    op.add_column("workers", sa.Column("memory_bytes", sa.BigInteger()))
    op.add_column("workers", sa.Column("engines", sa.JSON(), nullable=False, server_default="[]"))
    connection = op.get_bind()
    rows = connection.execute(
        sa.text(
            "SELECT jobs.id, revisions.summary FROM jobs JOIN revisions"
            " ON revisions.job_id = jobs.id AND revisions.number = jobs.revision"
        )
    ).all()
    for job_id, summary in rows:
        found = json.loads(summary) if isinstance(summary, str) else summary
        drawn = [each["name"] for each in found.get("labels", ()) if each["objects"]]
        connection.execute(
            sa.text("UPDATE jobs SET labels = :labels WHERE id = :id"),
            {"id": job_id, "labels": "\x1f".join(["", *drawn, ""]) if drawn else ""},
        )


def downgrade() -> None:
    """Take them away again."""
    op.drop_column("workers", "engines")
    op.drop_column("workers", "memory_bytes")
    op.drop_column("runs", "flagged_frames")
    op.drop_column("jobs", "labels")
