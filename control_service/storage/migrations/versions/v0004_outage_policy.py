"""What nodes do with a service's requests when they are cut off from the control service."""

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Add the columns; services that are there deny, as they did."""
    text = sa.Text().with_variant(sa.Text(collation="C"), "postgresql")
    op.add_column("services", sa.Column("outage_policy", text, nullable=False, server_default="DENY"))
    op.add_column("services", sa.Column("outage_tokens_max", sa.BigInteger(), nullable=False, server_default="0"))
