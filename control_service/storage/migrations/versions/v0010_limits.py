"""Rate rules and budgets, and when those of an account or a model changed last."""

import sqlalchemy as sa
from alembic import op

revision = "0010"
down_revision = "0009"
branch_labels = None
depends_on = None

BY_CODE_POINT = sa.Text().with_variant(sa.Text(collation="C"), "postgresql")
LIVING = sa.text("delete_us IS NULL")


def text(name: str) -> sa.Column[str]:
    return sa.Column(name, BY_CODE_POINT, nullable=False)


def number(name: str, *, nullable: bool = False) -> sa.Column[int]:
    return sa.Column(name, sa.BigInteger(), nullable=nullable)


def upgrade() -> None:
    """Make the tables; nobody has limits until now."""
    op.create_table(
        "rate_rules",
        *(text(name) for name in ("account_id", "of_model_id", "rule_id", "uid")),
        *(text(name) for name in ("place_kind", "place_id", "place_uid", "metric")),
        *(number(name) for name in ("limit_units", "period_us", "burst_units")),
        text("model_id"),
        sa.Column("dry_run", sa.Boolean(), nullable=False),
        *(number(name) for name in ("create_us", "update_us")),
        number("delete_us", nullable=True),
        sa.PrimaryKeyConstraint("account_id", "of_model_id", "rule_id", name=op.f("pk_rate_rules")),
        sa.UniqueConstraint("uid", name=op.f("uq_rate_rules_uid")),
    )
    op.create_table(
        "budgets",
        *(text(name) for name in ("account_id", "budget_id", "uid")),
        *(text(name) for name in ("place_kind", "place_id", "place_uid", "unit")),
        number("amount_units"),
        *(text(name) for name in ("period", "time_zone", "member")),
        sa.Column("soft", sa.Boolean(), nullable=False),
        number("raised_units"),
        number("raised_until_us", nullable=True),
        number("initial_spent_units"),
        text("threshold_percents"),
        *(number(name) for name in ("create_us", "update_us")),
        number("delete_us", nullable=True),
        sa.PrimaryKeyConstraint("account_id", "budget_id", name=op.f("pk_budgets")),
        sa.UniqueConstraint("uid", name=op.f("uq_budgets_uid")),
    )
    for table in ("rate_rules", "budgets"):
        place = ["account_id", "place_kind", "place_uid"]
        op.create_index(f"ix_{table}_place", table, place, sqlite_where=LIVING, postgresql_where=LIVING)
    op.create_table(
        "limit_versions",
        *(text(name) for name in ("account_id", "model_id")),
        number("config_version"),
        sa.PrimaryKeyConstraint("account_id", "model_id", name=op.f("pk_limit_versions")),
    )
    op.create_index("ix_limit_versions_config_version", "limit_versions", ["config_version"])
