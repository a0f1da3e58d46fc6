"""What can run out is called a pot: a budget is what an account's owner sets."""

from alembic import op

revision = "0012"
down_revision = "0011"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Rename the column."""
    op.alter_column("leases", "budget_kind", new_column_name="pot_kind")
