"""Who runs an epoch of a node, and what the control service had answered when it committed last."""

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None

BY_CODE_POINT = sa.Text().with_variant(sa.Text(collation="C"), "postgresql")


def upgrade() -> None:
    """Add the columns."""
    op.add_column("nodes", sa.Column("holder", BY_CODE_POINT, nullable=False, server_default=""))
    op.add_column("nodes", sa.Column("exchange_answered", sa.BigInteger(), nullable=False, server_default="0"))
    op.add_column("nodes", sa.Column("control_incarnation", BY_CODE_POINT, nullable=False, server_default=""))
