"""When leases were closed, so that old ones can be deleted."""

import time

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Add the column; for leases that are closed already, their time begins now."""
    op.add_column("leases", sa.Column("close_us", sa.BigInteger(), nullable=True))
    op.execute(f"UPDATE leases SET close_us = {time.time_ns() // 1_000} WHERE closed")  # noqa: S608  # a number
    op.create_index(
        "leases_closed", "leases", ["close_us"], sqlite_where=sa.text("closed"), postgresql_where=sa.text("closed")
    )
