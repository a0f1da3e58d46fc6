"""Which team used what: a part of each record, and of the keys of aggregates and denials."""

import sqlalchemy as sa
from alembic import op

revision = "0011"
down_revision = "0010"
branch_labels = None
depends_on = None

KEYS = {
    "minute_usage": ("service", "minute_us", "service_uid", "team", "credential", "labels"),
    "minute_denials": ("service", "minute_us", "service_uid", "team", "credential", "reason"),
}


def upgrade() -> None:
    """Add the columns: what is there was used by no team."""
    op.add_column("requests", _team())
    for table, key in KEYS.items():
        # SQLite cannot change a key, nor does it name one, so there the table is made anew.
        with op.batch_alter_table(table, naming_convention={"pk": "%(table_name)s_pkey"}) as batch:
            batch.drop_constraint(f"{table}_pkey", type_="primary")
            batch.add_column(_team())
            batch.create_primary_key(f"{table}_pkey", list(key))


def _team() -> sa.Column[str]:
    text = sa.Text().with_variant(sa.Text(collation="C"), "postgresql")
    return sa.Column("team", text, nullable=False, server_default="")
