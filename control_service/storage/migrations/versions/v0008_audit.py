"""The audit log; idempotency keys by principal; the caller's word for itself beside a proved actor."""

import sqlalchemy as sa
from alembic import op

revision = "0008"
down_revision = "0007"
branch_labels = None
depends_on = None

BY_CODE_POINT = sa.Text().with_variant(sa.Text(collation="C"), "postgresql")
NUMBERS = ("event_us", "call_count")


def upgrade() -> None:
    """Add the table and the columns; whatever is kept so far was of callers who had proved nothing."""
    names = (
        "entry_id event_us outcome principal access_token caller_note peer method resource account_id request_json "
        "reason call_count node"
    )
    op.create_table(
        "audit_entries",
        *(
            sa.Column(name, sa.BigInteger() if name in NUMBERS else BY_CODE_POINT, nullable=False)
            for name in names.split()
        ),
        sa.PrimaryKeyConstraint("entry_id", name=op.f("pk_audit_entries")),
    )
    for column in ("", "account_id", "principal", "resource"):
        columns = [*filter(None, (column, "event_us", "entry_id"))]
        op.create_index(op.f(f"ix_audit_entries_{'_'.join(columns)}"), "audit_entries", columns)
    for table in ("ledger_entries", "service_events"):
        op.add_column(table, sa.Column("actor_note", BY_CODE_POINT, nullable=False, server_default=""))
    with op.batch_alter_table("idempotency_keys") as keys:
        keys.drop_constraint(op.f("pk_idempotency_keys"), type_="primary")
        keys.add_column(sa.Column("principal", BY_CODE_POINT, nullable=False, server_default=""))
        keys.create_primary_key(op.f("pk_idempotency_keys"), ["scope", "principal", "method", "idempotency_key"])
