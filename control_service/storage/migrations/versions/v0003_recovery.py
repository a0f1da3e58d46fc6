"""How far nodes had got, to see whether a database was restored from an older copy."""

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Add the columns."""
    for name in ("commit_no", "recovered_epoch"):
        op.add_column("nodes", sa.Column(name, sa.BigInteger(), nullable=False, server_default="0"))
