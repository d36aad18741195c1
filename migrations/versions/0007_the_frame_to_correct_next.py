"""The frame to correct next of every published run, by which jobs can be put in order.

Revision: 0007, follows: 0006.
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0007"
down_revision = "0006"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Add the column; of earlier runs their reports alone know it."""
    op.add_column("runs", sa.Column("next_frame", sa.JSON()))


def downgrade() -> None:
    """Take it away; the reports keep what it says."""
    op.drop_column("runs", "next_frame")
