"""Services by status: a page of those that are stopped reads no others."""

from alembic import op

revision = "0024"
down_revision = "0023"
branch_labels = None
depends_on = None
oldest_program = "0020"


def upgrade() -> None:
    """Index what lists of one status begin in."""
    columns = ["told_status", "account_id", "service_id"]
    op.create_index(f"ix_services_{'_'.join(columns)}", "services", columns)
