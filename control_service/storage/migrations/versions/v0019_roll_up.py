"""What old events are found by, and lines of usage of one service and minute that are of several teams."""

from alembic import op

revision = "0019"
down_revision = "0018"
branch_labels = None
depends_on = None

OLD = ["account_id", "service_uid", "usage_minute_us"]
NEW = ["account_id", "service_uid", "usage_minute_us", "team"]


def upgrade() -> None:
    """Add the index, and the team to the key of usage lines: so those of an hour can be added up for each team."""
    op.create_index("ix_service_events_event_us", "service_events", ["event_us"])
    with op.batch_alter_table("ledger_entries") as batch:
        batch.drop_constraint(f"uq_ledger_entries_{'_'.join(OLD)}", type_="unique")
        batch.create_unique_constraint(f"uq_ledger_entries_{'_'.join(NEW)}", NEW)
