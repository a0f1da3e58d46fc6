"""Who may do what: principals, service accounts, access tokens, bindings."""

import sqlalchemy as sa
from alembic import op

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None

BY_CODE_POINT = sa.Text().with_variant(sa.Text(collation="C"), "postgresql")


def upgrade() -> None:
    op.create_table(
        "principals",
        sa.Column("member", BY_CODE_POINT, nullable=False),
        sa.Column("display_name", BY_CODE_POINT, nullable=False),
        sa.Column("groups", BY_CODE_POINT, nullable=False),
        sa.Column("last_sign_in_us", sa.BigInteger(), nullable=True),
        sa.Column("disabled", sa.Boolean(), nullable=False),
        sa.PrimaryKeyConstraint("member", name=op.f("pk_principals")),
    )
    is_disabled = sa.text("disabled")
    op.create_index(
        "ix_principals_disabled", "principals", ["member"], sqlite_where=is_disabled, postgresql_where=is_disabled
    )
    op.create_table(
        "service_accounts",
        sa.Column("account_id", BY_CODE_POINT, nullable=False),
        sa.Column("team_id", BY_CODE_POINT, nullable=False),
        sa.Column("service_account_id", BY_CODE_POINT, nullable=False),
        sa.Column("display_name", BY_CODE_POINT, nullable=False),
        sa.Column("creator", BY_CODE_POINT, nullable=False),
        sa.Column("create_us", sa.BigInteger(), nullable=False),
        sa.Column("delete_us", sa.BigInteger(), nullable=True),
        sa.PrimaryKeyConstraint("account_id", "team_id", "service_account_id", name=op.f("pk_service_accounts")),
    )
    op.create_table(
        "access_tokens",
        sa.Column("token_id", BY_CODE_POINT, nullable=False),
        sa.Column("owner", BY_CODE_POINT, nullable=False),
        sa.Column("display_name", BY_CODE_POINT, nullable=False),
        sa.Column("narrowed_role", BY_CODE_POINT, nullable=True),
        sa.Column("narrowed_scope", BY_CODE_POINT, nullable=True),
        sa.Column("secret_hash", sa.LargeBinary(), nullable=False),
        sa.Column("previous_secret_hash", sa.LargeBinary(), nullable=True),
        sa.Column("previous_secret_expire_us", sa.BigInteger(), nullable=True),
        sa.Column("expire_us", sa.BigInteger(), nullable=True),
        sa.Column("disabled", sa.Boolean(), nullable=False),
        sa.Column("signed_in", sa.Boolean(), nullable=False),
        sa.Column("last_use_day_us", sa.BigInteger(), nullable=True),
        sa.Column("create_us", sa.BigInteger(), nullable=False),
        sa.Column("delete_us", sa.BigInteger(), nullable=True),
        sa.Column("forget_us", sa.BigInteger(), nullable=True),
        sa.PrimaryKeyConstraint("token_id", name=op.f("pk_access_tokens")),
    )
    op.create_index("ix_access_tokens_owner_token_id", "access_tokens", ["owner", "token_id"])
    is_ended = sa.text("forget_us IS NOT NULL")
    op.create_index(
        "ix_access_tokens_forget_us", "access_tokens", ["forget_us"], sqlite_where=is_ended, postgresql_where=is_ended
    )
    op.create_table(
        "bindings",
        sa.Column("account_id", BY_CODE_POINT, nullable=False),
        sa.Column("team_id", BY_CODE_POINT, nullable=False),
        sa.Column("binding_id", BY_CODE_POINT, nullable=False),
        sa.Column("member", BY_CODE_POINT, nullable=False),
        sa.Column("role", BY_CODE_POINT, nullable=False),
        sa.Column("node_names", BY_CODE_POINT, nullable=False),
        sa.Column("creator", BY_CODE_POINT, nullable=False),
        sa.Column("create_us", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("account_id", "team_id", "binding_id", name=op.f("pk_bindings")),
        sa.UniqueConstraint(
            "account_id",
            "team_id",
            "role",
            "member",
            "node_names",
            name=op.f("uq_bindings_account_id_team_id_role_member_node_names"),
        ),
    )
    op.create_index("ix_bindings_member", "bindings", ["member"])
    op.create_table(
        "access_changes",
        sa.Column("kind", BY_CODE_POINT, nullable=False),
        sa.Column("subject", BY_CODE_POINT, nullable=False),
        sa.Column("config_version", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("kind", "subject", name=op.f("pk_access_changes")),
    )
    op.create_index("ix_access_changes_config_version", "access_changes", ["config_version"])
