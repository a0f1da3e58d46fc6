"""Which requests timed out, so that a new epoch finds those whose later parts know more of them."""

import sqlalchemy as sa
from alembic import op

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Add the index: requests that their servers ended are not in it."""
    is_timed_out = sa.text("state = 'timed_out'")
    op.create_index(
        "requests_timed_out",
        "requests",
        ["node", "epoch"],
        sqlite_where=is_timed_out,
        postgresql_where=is_timed_out,
    )
