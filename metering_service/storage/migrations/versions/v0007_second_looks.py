"""Which parts timed out and are to be looked at once more: kept by name, not searched for among all that timed out."""

import sqlalchemy as sa
from alembic import op

revision = "0007"
down_revision = "0006"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Add the table, which is nearly always empty; drop the index of what it replaces."""
    text = sa.Text().with_variant(sa.Text(collation="C"), "postgresql")
    op.create_table(
        "second_looks",
        sa.Column("node", text, primary_key=True),
        sa.Column("epoch", sa.BigInteger, primary_key=True, autoincrement=False),
        sa.Column("service", text, primary_key=True),
        sa.Column("request_id", text, primary_key=True),
        sa.Column("part", text, primary_key=True),
    )
    op.drop_index("requests_timed_out", "requests")
