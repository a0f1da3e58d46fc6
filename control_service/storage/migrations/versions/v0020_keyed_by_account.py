"""Every key and unique constraint of what belongs to an account has the account in it."""

import sqlalchemy as sa
from alembic import op

revision = "0020"
down_revision = "0019"
branch_labels = None
depends_on = None

UNIQUE = ("services", "webhooks", "rate_rules", "budgets", "api_keys")
KEYS = {
    "webhook_deliveries": ["account_id", "webhook_uid", "message_id"],
    "audit_entries": ["account_id", "entry_id"],
}


def upgrade() -> None:
    """Widen them; where something is looked for by its uid alone, an index stays."""
    # SQLite loses it where the table is made anew.
    check = sa.CheckConstraint("trial_leased_tokens >= 0", name=op.f("ck_services_trial_leased"))
    for table in UNIQUE:
        with op.batch_alter_table(table, table_args=(check,) if table == "services" else ()) as batch:
            batch.drop_constraint(op.f(f"uq_{table}_uid"), type_="unique")
            batch.create_unique_constraint(op.f(f"uq_{table}_account_id_uid"), ["account_id", "uid"])
    for table in ("webhooks", "rate_rules"):
        op.create_index(op.f(f"ix_{table}_uid"), table, ["uid"])
    for table, key in KEYS.items():
        with op.batch_alter_table(table) as batch:
            batch.drop_constraint(op.f(f"pk_{table}"), type_="primary")
            batch.create_primary_key(op.f(f"pk_{table}"), key)
