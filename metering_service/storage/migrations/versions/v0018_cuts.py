"""Why requests had to end."""

import sqlalchemy as sa
from alembic import op

revision = "0018"
down_revision = "0017"
branch_labels = None
depends_on = None
oldest_program = "0016"


def upgrade() -> None:
    """Add the column: of what is there nobody knows it."""
    op.add_column("requests", sa.Column("told", sa.Text(), nullable=False, server_default=""))
