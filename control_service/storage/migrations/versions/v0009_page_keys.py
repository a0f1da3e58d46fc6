"""Keys that sign page tokens."""

import sqlalchemy as sa
from alembic import op

revision = "0009"
down_revision = "0008"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Make the table; the first server enters a key."""
    op.create_table(
        "page_keys",
        sa.Column("number", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("create_us", sa.BigInteger(), nullable=False),
        sa.Column("secret", sa.LargeBinary(), nullable=False),
        sa.PrimaryKeyConstraint("number", name=op.f("pk_page_keys")),
    )
