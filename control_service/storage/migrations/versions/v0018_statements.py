"""The team of ledger lines, and an index by which the lines of a month are found."""

import sqlalchemy as sa
from alembic import op

revision = "0018"
down_revision = "0017"
branch_labels = None
depends_on = None

BY_CODE_POINT = sa.Text().with_variant(sa.Text(collation="C"), "postgresql")


def upgrade() -> None:
    """Add both; lines that there are have the team that their service belongs to now."""
    op.add_column("ledger_entries", sa.Column("team", BY_CODE_POINT, nullable=False, server_default=""))
    op.execute(
        "UPDATE ledger_entries SET team = coalesce((SELECT services.team FROM services "
        "WHERE services.account_id = ledger_entries.account_id "
        "AND services.service_id = ledger_entries.service_id), '')"
    )
    op.create_index("ix_ledger_entries_account_id_create_us", "ledger_entries", ["account_id", "create_us"])
