"""How the counts of a request rank, where its state does not say: what a finish says exactly replaces all else."""

import sqlalchemy as sa
from alembic import op

revision = "0009"
down_revision = "0008"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Add the column: what is there ranks as it did."""
    op.add_column("requests", sa.Column("ranks", sa.Text(), nullable=False, server_default="[]"))
