"""An index of the open leases of each limit's pot: closed ones stay for as long as the epoch of their node runs."""

import sqlalchemy as sa
from alembic import op

revision = "0013"
down_revision = "0012"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Make the index."""
    is_open = sa.text("NOT closed AND limit_uid IS NOT NULL")
    op.create_index(
        "ix_leases_open_of_limits",
        "leases",
        ["account_id", "limit_uid", "member_uid", "period_start_us"],
        sqlite_where=is_open,
        postgresql_where=is_open,
    )
