"""What people should know of a run, such as a graphics card that is too small for its engine.

Revision: 0004, follows: 0003.
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Add the column; there is nothing to tell of earlier runs."""
    op.add_column("runs", sa.Column("notices", sa.JSON(), nullable=False, server_default="[]"))


def downgrade() -> None:
    """Take it away again."""
    op.drop_column("runs", "notices")
