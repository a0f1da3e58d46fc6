"""API keys and their secrets; whether services need them."""

import sqlalchemy as sa
from alembic import op

revision = "0015"
down_revision = "0014"
branch_labels = None
depends_on = None

BY_CODE_POINT = sa.Text().with_variant(sa.Text(collation="C"), "postgresql")
TEXTS = "account_id key_id uid display_name team owner routes networks secret_id creator"
NUMBERS = "config_version create_us update_us"


def upgrade() -> None:
    """Make the tables; services that are there need no key, as before."""
    op.create_table(
        "api_keys",
        *(sa.Column(name, BY_CODE_POINT, nullable=False) for name in TEXTS.split()),
        *(sa.Column(name, BY_CODE_POINT, nullable=True) for name in ("service_ids", "model_ids")),
        *(sa.Column(name, sa.Boolean(), nullable=False) for name in ("temporary", "disabled")),
        *(sa.Column(name, sa.BigInteger(), nullable=False) for name in NUMBERS.split()),
        *(
            sa.Column(name, sa.BigInteger(), nullable=True)
            for name in ("expire_us", "previous_secret_expire_us", "delete_us", "forget_us")
        ),
        sa.PrimaryKeyConstraint("account_id", "key_id", name=op.f("pk_api_keys")),
        sa.UniqueConstraint("uid", name=op.f("uq_api_keys_uid")),
    )
    op.create_index(op.f("ix_api_keys_config_version"), "api_keys", ["config_version"])
    for name, columns, condition in (
        ("listed", ["account_id", "key_id"], "delete_us IS NULL"),
        ("listed_by_team", ["account_id", "team", "key_id"], "delete_us IS NULL"),
        ("forget_us", ["forget_us"], "forget_us IS NOT NULL"),
    ):
        where = sa.text(condition)
        op.create_index(f"ix_api_keys_{name}", "api_keys", columns, sqlite_where=where, postgresql_where=where)
    op.create_table(
        "api_key_secrets",
        sa.Column("secret_hash", sa.LargeBinary(), nullable=False),
        sa.Column("account_id", BY_CODE_POINT, nullable=False),
        sa.Column("key_id", BY_CODE_POINT, nullable=False),
        sa.Column("expire_us", sa.BigInteger(), nullable=True),
        sa.Column("forget_us", sa.BigInteger(), nullable=True),
        sa.PrimaryKeyConstraint("secret_hash", name=op.f("pk_api_key_secrets")),
    )
    op.create_index(op.f("ix_api_key_secrets_account_id_key_id"), "api_key_secrets", ["account_id", "key_id"])
    where = sa.text("forget_us IS NOT NULL")
    op.create_index(
        "ix_api_key_secrets_forget_us", "api_key_secrets", ["forget_us"], sqlite_where=where, postgresql_where=where
    )
    op.add_column("services", sa.Column("credential_policy", BY_CODE_POINT, nullable=False, server_default="OPEN"))
    for name in ("shared", "exempt_from_model_rules"):
        op.add_column("services", sa.Column(name, sa.Boolean(), nullable=False, server_default=sa.false()))
