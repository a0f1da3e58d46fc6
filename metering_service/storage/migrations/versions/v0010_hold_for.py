"""How long a request stays open while nobody speaks of it, where that is longer or shorter than the resume window."""

import sqlalchemy as sa
from alembic import op

revision = "0010"
down_revision = "0009"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Add the column: requests that are there stay open for the resume window, as they did."""
    op.add_column("requests", sa.Column("hold_for_us", sa.BigInteger(), nullable=False, server_default="0"))
