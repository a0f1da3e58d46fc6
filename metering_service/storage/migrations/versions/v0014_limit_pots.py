"""Leases on the pots of limits: of which limit, which member and which period."""

import sqlalchemy as sa
from alembic import op

revision = "0014"
down_revision = "0013"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Add the columns: the leases that are there are on payers."""
    text = sa.Text().with_variant(sa.Text(collation="C"), "postgresql")
    op.add_column("leases", sa.Column("limit_uid", text, nullable=False, server_default=""))
    op.add_column("leases", sa.Column("member_uid", text, nullable=False, server_default=""))
    op.add_column("leases", sa.Column("period_start_us", sa.BigInteger, nullable=False, server_default="0"))
