"""Alerts, webhooks and their deliveries; what accounts and trials were told of."""

import sqlalchemy as sa
from alembic import op

revision = "0011"
down_revision = "0010"
branch_labels = None
depends_on = None

BY_CODE_POINT = sa.Text().with_variant(sa.Text(collation="C"), "postgresql")


def upgrade() -> None:
    """Make the tables. Accounts tell of their trials at 80 and 100 percent."""
    op.add_column("accounts", sa.Column("trial_percents", BY_CODE_POINT, nullable=False, server_default="80,100"))
    op.add_column("accounts", sa.Column("left_nanos_thresholds", BY_CODE_POINT, nullable=False, server_default=""))
    op.add_column("accounts", sa.Column("told_left_nanos", sa.BigInteger(), nullable=True))
    op.add_column("services", sa.Column("trial_told_percent", sa.BigInteger(), nullable=True))
    op.execute("UPDATE services SET trial_told_percent = 0 WHERE trial_quota_tokens IS NOT NULL")
    op.create_table(
        "alert_counts",
        sa.Column("account_id", BY_CODE_POINT, nullable=False),
        sa.Column("alert_count", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("account_id", name=op.f("pk_alert_counts")),
    )
    op.create_table(
        "alerts",
        sa.Column("account_id", BY_CODE_POINT, nullable=False),
        sa.Column("alert_number", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("kind", BY_CODE_POINT, nullable=False),
        sa.Column("resource", BY_CODE_POINT, nullable=False),
        sa.Column("figures", BY_CODE_POINT, nullable=False),
        sa.Column("words", BY_CODE_POINT, nullable=False),
        sa.Column("create_us", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("account_id", "alert_number", name=op.f("pk_alerts")),
    )
    op.create_index(op.f("ix_alerts_create_us"), "alerts", ["create_us"])
    _webhooks()
    _deliveries()


def _webhooks() -> None:
    op.create_table(
        "webhooks",
        sa.Column("account_id", BY_CODE_POINT, nullable=False),
        sa.Column("webhook_id", BY_CODE_POINT, nullable=False),
        sa.Column("uid", BY_CODE_POINT, nullable=False),
        sa.Column("url", BY_CODE_POINT, nullable=False),
        sa.Column("kinds", BY_CODE_POINT, nullable=False),
        sa.Column("disabled", sa.Boolean(), nullable=False),
        sa.Column("gone", sa.Boolean(), nullable=False),
        sa.Column("salt", sa.LargeBinary(), nullable=False),
        sa.Column("previous_salt", sa.LargeBinary(), nullable=True),
        sa.Column("previous_until_us", sa.BigInteger(), nullable=True),
        sa.Column("create_us", sa.BigInteger(), nullable=False),
        sa.Column("update_us", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("account_id", "webhook_id", name=op.f("pk_webhooks")),
        sa.UniqueConstraint("uid", name=op.f("uq_webhooks_uid")),
    )


def _deliveries() -> None:
    op.create_table(
        "webhook_deliveries",
        sa.Column("webhook_uid", BY_CODE_POINT, nullable=False),
        sa.Column("message_id", BY_CODE_POINT, nullable=False),
        sa.Column("account_id", BY_CODE_POINT, nullable=False),
        sa.Column("webhook_id", BY_CODE_POINT, nullable=False),
        sa.Column("alert_number", sa.BigInteger(), nullable=False),
        sa.Column("create_us", sa.BigInteger(), nullable=False),
        sa.Column("give_up_us", sa.BigInteger(), nullable=False),
        sa.Column("next_attempt_us", sa.BigInteger(), nullable=True),
        sa.Column("state", BY_CODE_POINT, nullable=False),
        sa.Column("attempt_count", sa.BigInteger(), nullable=False),
        sa.Column("last_attempt_us", sa.BigInteger(), nullable=True),
        sa.Column("last_status", sa.BigInteger(), nullable=False),
        sa.Column("last_problem", BY_CODE_POINT, nullable=False),
        sa.PrimaryKeyConstraint("webhook_uid", "message_id", name=op.f("pk_webhook_deliveries")),
    )
    table, due, ended = "webhook_deliveries", sa.text("next_attempt_us IS NOT NULL"), sa.text("next_attempt_us IS NULL")
    columns = ["next_attempt_us"]
    op.create_index("ix_webhook_deliveries_due", table, columns, sqlite_where=due, postgresql_where=due)
    name, columns = "ix_webhook_deliveries_due_by_webhook", ["webhook_uid", "next_attempt_us", "alert_number"]
    op.create_index(name, table, columns, sqlite_where=due, postgresql_where=due)
    columns = ["webhook_uid", "create_us", "message_id"]
    op.create_index(op.f("ix_webhook_deliveries_webhook_uid_create_us_message_id"), table, columns)
    columns = ["create_us"]
    op.create_index("ix_webhook_deliveries_ended", table, columns, sqlite_where=ended, postgresql_where=ended)
