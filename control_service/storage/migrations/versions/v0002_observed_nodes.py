"""Nodes are judged by what is seen of them, not by the clock; what is old can be found."""

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Add what grows with every sign of life, what is settled for good, and indexes by age."""
    for name in ("heard_count", "settled_below_epoch"):
        op.add_column("nodes", sa.Column(name, sa.BigInteger(), nullable=False, server_default="0"))
    closed = sa.text("closed")
    op.create_index(
        "ix_leases_closed_by_node", "leases", ["node", "epoch"], sqlite_where=closed, postgresql_where=closed
    )
    op.create_index(op.f("ix_idempotency_keys_create_us"), "idempotency_keys", ["create_us"])
