"""How much output an answer can have, and what is held for one that comes as a whole and names no limit."""

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Add the columns; of models that are there it is not known how much they can answer."""
    op.add_column("models", sa.Column("output_tokens_max", sa.BigInteger(), nullable=False, server_default="0"))
    default = sa.Column("whole_output_tokens_default", sa.BigInteger(), nullable=False, server_default="4096")
    op.add_column("models", default)
