"""Before when sums are by hour, and by day."""

import sqlalchemy as sa
from alembic import op

revision = "0015"
down_revision = "0014"
branch_labels = None
depends_on = None
oldest_program = "0014"


def upgrade() -> None:
    """Add the table: so far all sums are by minute."""
    op.create_table(
        "roll_ups",
        sa.Column("step_us", sa.BigInteger, primary_key=True, autoincrement=False),
        sa.Column("begun_us", sa.BigInteger, nullable=False),
        sa.Column("done_us", sa.BigInteger, nullable=False),
    )
