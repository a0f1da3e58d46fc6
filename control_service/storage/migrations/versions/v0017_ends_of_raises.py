"""The end of a budget's raise, as long as it has not been dealt with, and an index of them."""

import sqlalchemy as sa
from alembic import op

revision = "0017"
down_revision = "0016"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Add both; raises that have ended already are dealt with at once."""
    op.add_column("budgets", sa.Column("raise_due_us", sa.BigInteger(), nullable=True))
    op.execute("UPDATE budgets SET raise_due_us = raised_until_us")
    is_due = sa.text("raise_due_us IS NOT NULL AND delete_us IS NULL")
    op.create_index("ix_budgets_raise_due", "budgets", ["raise_due_us"], sqlite_where=is_due, postgresql_where=is_due)
