"""Where a price comes from."""

import sqlalchemy as sa
from alembic import op

revision = "0023"
down_revision = "0022"
branch_labels = None
depends_on = None
oldest_program = "0020"


def upgrade() -> None:
    """Add it: of older prices nobody has said."""
    text = sa.Text().with_variant(sa.Text(collation="C"), "postgresql")
    for table in ("prices", "withdrawn_prices"):
        op.add_column(table, sa.Column("source", text, nullable=False, server_default=""))
