"""When a run went on after a retry, and how many frames were done by then.

Revision: 0002, follows: 0001.
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Add the columns."""
    op.add_column("runs", sa.Column("resumed", sa.Double(), nullable=True))
    op.add_column(
        "runs", sa.Column("frames_before", sa.Integer(), nullable=False, server_default="0")
    )


def downgrade() -> None:
    """Drop the columns."""
    op.drop_column("runs", "frames_before")
    op.drop_column("runs", "resumed")
