"""Counts of running requests on pages of their own, many to a row; nodes note which leases control has closed."""

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None

BY_CODE_POINT = sa.Text().with_variant(sa.Text(collation="C"), "postgresql")


def upgrade() -> None:
    """Add the table, and to requests their place in it: those that run now have none, and keep their counts."""
    op.create_table(
        "counts_pages",
        sa.Column("node", BY_CODE_POINT, nullable=False),
        sa.Column("epoch", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("page", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("data", sa.LargeBinary(), nullable=False),
        sa.PrimaryKeyConstraint("node", "epoch", "page"),
    )
    op.add_column("requests", sa.Column("place", sa.BigInteger()))
    op.add_column("nodes", sa.Column("closed_below_epoch", sa.BigInteger(), nullable=False, server_default="0"))
