"""What requests are stamped with: the key's team, the hour of authorisation, the pots of limits that are charged."""

from typing import Any

import sqlalchemy as sa
from alembic import op

revision = "0013"
down_revision = "0012"
branch_labels = None
depends_on = None

USAGE_KEY = ("service", "minute_us", "service_uid", "team", "credential", "labels", "key_team", "hour_us")
DENIALS_KEY = ("service", "minute_us", "service_uid", "team", "credential", "reason", "key_team")


def upgrade() -> None:
    """Add the columns: what is there came with no key of a team, and is of the hour in which it was booked."""
    op.add_column("requests", _key_team())
    op.add_column("requests", _hour())
    op.add_column("requests", sa.Column("pots", sa.Text, nullable=False, server_default="[]"))
    _rekey("minute_usage", USAGE_KEY, _key_team(), _hour())
    _rekey("minute_denials", DENIALS_KEY, _key_team())
    op.execute("UPDATE minute_usage SET hour_us = minute_us - minute_us % 3600000000")


def _rekey(table: str, key: tuple[str, ...], *columns: sa.Column[Any]) -> None:
    """SQLite cannot change a key, nor does it name one, so there the table is made anew."""
    with op.batch_alter_table(table, naming_convention={"pk": "%(table_name)s_pkey"}) as batch:
        batch.drop_constraint(f"{table}_pkey", type_="primary")
        for column in columns:
            batch.add_column(column)
        batch.create_primary_key(f"{table}_pkey", list(key))


def _key_team() -> sa.Column[str]:
    text = sa.Text().with_variant(sa.Text(collation="C"), "postgresql")
    return sa.Column("key_team", text, nullable=False, server_default="")


def _hour() -> sa.Column[int]:
    return sa.Column("hour_us", sa.BigInteger, nullable=False, server_default="0")
