"""Pots of budgets, and leases that are slices of them."""

import sqlalchemy as sa
from alembic import op

revision = "0012"
down_revision = "0011"
branch_labels = None
depends_on = None

BY_CODE_POINT = sa.Text().with_variant(sa.Text(collation="C"), "postgresql")


def upgrade() -> None:
    """Make the table, and say of leases which limit's pot they are slices of: none of those that there are."""
    op.create_table(
        "limit_pots",
        sa.Column("account_id", BY_CODE_POINT, nullable=False),
        sa.Column("limit_uid", BY_CODE_POINT, nullable=False),
        sa.Column("member_uid", BY_CODE_POINT, nullable=False),
        sa.Column("period_start_us", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("kind", BY_CODE_POINT, nullable=False),
        sa.Column("capacity_units", sa.BigInteger(), nullable=False),
        sa.Column("leased_units", sa.BigInteger(), nullable=False),
        sa.Column("spent_units", sa.BigInteger(), nullable=False),
        sa.Column("end_us", sa.BigInteger(), nullable=True),
        sa.Column("told_percent", sa.BigInteger(), nullable=False),
        sa.CheckConstraint("leased_units >= 0", name=op.f("ck_limit_pots_leased")),
        sa.PrimaryKeyConstraint("account_id", "limit_uid", "member_uid", "period_start_us", name=op.f("pk_limit_pots")),
    )
    ended = sa.text("end_us IS NOT NULL")
    op.create_index("ix_limit_pots_end_us", "limit_pots", ["end_us"], sqlite_where=ended, postgresql_where=ended)
    op.add_column("leases", sa.Column("limit_uid", BY_CODE_POINT, nullable=True))
    op.add_column("leases", sa.Column("member_uid", BY_CODE_POINT, nullable=True))
    op.add_column("leases", sa.Column("period_start_us", sa.BigInteger(), nullable=True))
    of_limits = sa.text("limit_uid IS NOT NULL")
    op.create_index(
        "ix_leases_of_limits",
        "leases",
        ["account_id", "limit_uid", "member_uid", "period_start_us"],
        sqlite_where=of_limits,
        postgresql_where=of_limits,
    )
