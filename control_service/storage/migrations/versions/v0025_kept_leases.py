"""How long an epoch of a node leaves the leases of those before it open."""

import sqlalchemy as sa
from alembic import op

revision = "0025"
down_revision = "0024"
branch_labels = None
depends_on = None
oldest_program = "0020"


def upgrade() -> None:
    """Add the column: of the epochs that there are it is not known."""
    op.add_column("nodes", sa.Column("leases_kept_us", sa.BigInteger(), nullable=True))
