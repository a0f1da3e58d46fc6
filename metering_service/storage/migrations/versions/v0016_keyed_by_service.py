"""The key of leases has the service in it, as every other key of what belongs to a service has."""

from alembic import op

revision = "0016"
down_revision = "0015"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Widen it; SQLite cannot change a key, nor does it name one, so there the table is made anew."""
    with op.batch_alter_table("leases", naming_convention={"pk": "%(table_name)s_pkey"}) as batch:
        batch.drop_constraint("leases_pkey", type_="primary")
        batch.create_primary_key("leases_pkey", ["service", "lease_id"])
    op.create_index("leases_by_id", "leases", ["lease_id"])
