"""Pots of rate rules, and what requests put back onto leases of them."""

import sqlalchemy as sa
from alembic import op

revision = "0016"
down_revision = "0015"
branch_labels = None
depends_on = None

BY_CODE_POINT = sa.Text().with_variant(sa.Text(collation="C"), "postgresql")


def upgrade() -> None:
    """Make the table; nothing was ever put back onto the leases that there are."""
    numbers = ("limit_units", "period_ms", "burst_units", "level_parts", "updated_us", "leased_units", "spent_units")
    op.create_table(
        "rule_pots",
        *(sa.Column(name, BY_CODE_POINT, nullable=False) for name in ("account_id", "limit_uid", "kind")),
        *(sa.Column(name, sa.BigInteger(), nullable=False) for name in numbers),
        sa.Column("only_counts", sa.Boolean(), nullable=False),
        sa.CheckConstraint("leased_units >= 0", name=op.f("ck_rule_pots_leased")),
        sa.PrimaryKeyConstraint("account_id", "limit_uid", name=op.f("pk_rule_pots")),
    )
    op.add_column("leases", sa.Column("refunded_units", sa.BigInteger(), nullable=False, server_default="0"))
