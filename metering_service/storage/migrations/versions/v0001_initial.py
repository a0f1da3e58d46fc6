"""The first schema."""

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None

BY_CODE_POINT = sa.Text().with_variant(sa.Text(collation="C"), "postgresql")


def upgrade() -> None:
    """Make all tables."""
    _make_nodes()
    _make_requests()
    _make_leases()
    _make_minutes()


def _make_nodes() -> None:
    op.create_table(
        "meta",
        sa.Column("key", BY_CODE_POINT, nullable=False),
        sa.Column("value", BY_CODE_POINT, nullable=False),
        sa.PrimaryKeyConstraint("key"),
    )
    op.create_table(
        "nodes",
        sa.Column("node", BY_CODE_POINT, nullable=False),
        sa.Column("epoch", sa.BigInteger(), nullable=False),
        sa.Column("commit_no", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("node"),
    )


def _make_requests() -> None:
    op.create_table(
        "services",
        sa.Column("service_uid", BY_CODE_POINT, nullable=False),
        sa.Column("service", BY_CODE_POINT, nullable=False),
        sa.PrimaryKeyConstraint("service_uid", "service"),
    )
    op.create_table(
        "requests",
        sa.Column("service", BY_CODE_POINT, nullable=False),
        sa.Column("request_id", BY_CODE_POINT, nullable=False),
        sa.Column("part", BY_CODE_POINT, nullable=False),
        sa.Column("service_uid", BY_CODE_POINT, nullable=False),
        sa.Column("node", BY_CODE_POINT, nullable=False),
        sa.Column("epoch", sa.BigInteger(), nullable=False),
        sa.Column("state", BY_CODE_POINT, nullable=False),
        sa.Column("input_tokens", sa.BigInteger(), nullable=False),
        sa.Column("cached_input_tokens", sa.BigInteger(), nullable=False),
        sa.Column("cache_write_tokens", sa.BigInteger(), nullable=False),
        sa.Column("output_tokens", sa.BigInteger(), nullable=False),
        sa.Column("reasoning_tokens", sa.BigInteger(), nullable=False),
        sa.Column("reserved", BY_CODE_POINT, nullable=False),
        sa.Column("trial", BY_CODE_POINT, nullable=False),
        sa.Column("billed", BY_CODE_POINT, nullable=False),
        sa.Column("unfunded", BY_CODE_POINT, nullable=False),
        sa.Column("overrun_tokens", sa.BigInteger(), nullable=False),
        sa.Column("cost_nanos", sa.BigInteger(), nullable=False),
        sa.Column("debt_nanos", sa.BigInteger(), nullable=False),
        sa.Column("price_version", sa.BigInteger(), nullable=False),
        sa.Column("revision", sa.Integer(), nullable=False),
        sa.Column("held", BY_CODE_POINT, nullable=False),
        sa.Column("price", BY_CODE_POINT, nullable=False),
        sa.Column("debt_allowed", sa.Boolean(), nullable=False),
        sa.Column("estimated", sa.Boolean(), nullable=False),
        sa.Column("credential", BY_CODE_POINT, nullable=False),
        sa.Column("labels", BY_CODE_POINT, nullable=False),
        sa.Column("start_us", sa.BigInteger(), nullable=False),
        sa.Column("settle_us", sa.BigInteger(), nullable=True),
        sa.Column("predecessor_part", BY_CODE_POINT, nullable=True),
        sa.Column("base_input_tokens", sa.BigInteger(), nullable=False),
        sa.Column("base_output_tokens", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("service", "request_id", "part"),
    )
    op.create_index(
        "requests_open",
        "requests",
        ["node", "epoch"],
        sqlite_where=sa.text("state = 'open'"),
        postgresql_where=sa.text("state = 'open'"),
    )


def _make_leases() -> None:
    op.create_table(
        "leases",
        sa.Column("lease_id", BY_CODE_POINT, nullable=False),
        sa.Column("service", BY_CODE_POINT, nullable=False),
        sa.Column("service_uid", BY_CODE_POINT, nullable=False),
        sa.Column("node", BY_CODE_POINT, nullable=False),
        sa.Column("epoch", sa.BigInteger(), nullable=False),
        sa.Column("budget_kind", BY_CODE_POINT, nullable=False),
        sa.Column("consumed_units", sa.BigInteger(), nullable=False),
        sa.Column("closed", sa.Boolean(), nullable=False),
        sa.PrimaryKeyConstraint("lease_id"),
    )
    op.create_index(
        "leases_open",
        "leases",
        ["node", "epoch"],
        sqlite_where=sa.text("closed = 0"),
        postgresql_where=sa.text("NOT closed"),
    )


def _make_minutes() -> None:
    op.create_table(
        "minute_usage",
        sa.Column("service", BY_CODE_POINT, nullable=False),
        sa.Column("minute_us", sa.BigInteger(), nullable=False),
        sa.Column("service_uid", BY_CODE_POINT, nullable=False),
        sa.Column("credential", BY_CODE_POINT, nullable=False),
        sa.Column("labels", BY_CODE_POINT, nullable=False),
        sa.Column("input_tokens", sa.BigInteger(), nullable=False),
        sa.Column("cached_input_tokens", sa.BigInteger(), nullable=False),
        sa.Column("cache_write_tokens", sa.BigInteger(), nullable=False),
        sa.Column("output_tokens", sa.BigInteger(), nullable=False),
        sa.Column("reasoning_tokens", sa.BigInteger(), nullable=False),
        sa.Column("reserved_tokens", sa.BigInteger(), nullable=False),
        sa.Column("trial_tokens", sa.BigInteger(), nullable=False),
        sa.Column("billed_tokens", sa.BigInteger(), nullable=False),
        sa.Column("unfunded_tokens", sa.BigInteger(), nullable=False),
        sa.Column("overrun_tokens", sa.BigInteger(), nullable=False),
        sa.Column("cost_nanos", sa.BigInteger(), nullable=False),
        sa.Column("debt_nanos", sa.BigInteger(), nullable=False),
        sa.Column("request_count", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("service", "minute_us", "service_uid", "credential", "labels"),
    )
    op.create_table(
        "minute_denials",
        sa.Column("service", BY_CODE_POINT, nullable=False),
        sa.Column("minute_us", sa.BigInteger(), nullable=False),
        sa.Column("service_uid", BY_CODE_POINT, nullable=False),
        sa.Column("credential", BY_CODE_POINT, nullable=False),
        sa.Column("reason", BY_CODE_POINT, nullable=False),
        sa.Column("denial_count", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("service", "minute_us", "service_uid", "credential", "reason"),
    )
