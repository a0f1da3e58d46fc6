"""Prices that were withdrawn before they took effect."""

import sqlalchemy as sa
from alembic import op

revision = "0021"
down_revision = "0020"
branch_labels = None
depends_on = None
oldest_program = "0020"


def upgrade() -> None:
    """Add the table."""
    text = sa.Text().with_variant(sa.Text(collation="C"), "postgresql")
    kinds = ("input", "cached_input", "cache_write", "output", "reasoning")
    numbers = ["effective_us", *(f"{kind}_nanos" for kind in kinds), "create_us", "withdraw_us"]
    op.create_table(
        "withdrawn_prices",
        sa.Column("model_id", text, primary_key=True),
        sa.Column("version", sa.BigInteger, primary_key=True, autoincrement=False),
        *(sa.Column(name, sa.BigInteger, nullable=False) for name in numbers),
    )
