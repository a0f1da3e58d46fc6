"""How far nodes had got in epochs that are over, to see whether a database was restored from an older copy."""

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None

BY_CODE_POINT = sa.Text().with_variant(sa.Text(collation="C"), "postgresql")


def upgrade() -> None:
    """Add the table and the column; the incarnation of control was never used."""
    op.create_table(
        "epochs",
        sa.Column("node", BY_CODE_POINT, nullable=False),
        sa.Column("epoch", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("commit_no", sa.BigInteger(), nullable=False),
        sa.Column("exchange_answered", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("node", "epoch"),
    )
    op.add_column("nodes", sa.Column("answered_epoch", sa.BigInteger(), nullable=False, server_default="0"))
    op.drop_column("nodes", "control_incarnation")
