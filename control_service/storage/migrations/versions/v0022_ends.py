"""When a model was retired, and an account closed."""

import sqlalchemy as sa
from alembic import op

revision = "0022"
down_revision = "0021"
branch_labels = None
depends_on = None
oldest_program = "0020"


def upgrade() -> None:
    """Add both: so far nothing is."""
    op.add_column("models", sa.Column("retire_us", sa.BigInteger(), nullable=True))
    op.add_column("accounts", sa.Column("close_us", sa.BigInteger(), nullable=True))
