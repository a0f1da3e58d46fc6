"""The first schema."""

import uuid

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None

BY_CODE_POINT = sa.Text().with_variant(sa.Text(collation="C"), "postgresql")


def upgrade() -> None:
    """Make all tables."""
    op.create_table(
        "accounts",
        sa.Column("account_id", BY_CODE_POINT, nullable=False),
        sa.Column("uid", BY_CODE_POINT, nullable=False),
        sa.Column("display_name", BY_CODE_POINT, nullable=False),
        sa.Column("currency_code", BY_CODE_POINT, nullable=False),
        sa.Column("funds_nanos", sa.BigInteger(), nullable=False),
        sa.Column("spent_nanos", sa.BigInteger(), nullable=False),
        sa.Column("leased_nanos", sa.BigInteger(), nullable=False),
        sa.Column("credit_limit_nanos", sa.BigInteger(), nullable=False),
        sa.Column("overdue_floor_nanos", sa.BigInteger(), nullable=False),
        sa.Column("overdue_policy", BY_CODE_POINT, nullable=False),
        sa.Column("overdue_us", sa.BigInteger(), nullable=True),
        sa.Column("ledger_entry_count", sa.BigInteger(), nullable=False),
        sa.Column("create_us", sa.BigInteger(), nullable=False),
        sa.Column("update_us", sa.BigInteger(), nullable=False),
        sa.CheckConstraint("leased_nanos >= 0", name=op.f("ck_accounts_leased")),
        sa.PrimaryKeyConstraint("account_id", name=op.f("pk_accounts")),
    )
    op.create_table(
        "idempotency_keys",
        sa.Column("scope", BY_CODE_POINT, nullable=False),
        sa.Column("method", BY_CODE_POINT, nullable=False),
        sa.Column("idempotency_key", BY_CODE_POINT, nullable=False),
        sa.Column("request_hash", sa.LargeBinary(), nullable=False),
        sa.Column("response", sa.LargeBinary(), nullable=False),
        sa.Column("create_us", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("scope", "method", "idempotency_key", name=op.f("pk_idempotency_keys")),
    )
    op.create_table(
        "leases",
        sa.Column("account_id", BY_CODE_POINT, nullable=False),
        sa.Column("lease_id", BY_CODE_POINT, nullable=False),
        sa.Column("node", BY_CODE_POINT, nullable=False),
        sa.Column("epoch", sa.BigInteger(), nullable=False),
        sa.Column("service_id", BY_CODE_POINT, nullable=False),
        sa.Column("service_uid", BY_CODE_POINT, nullable=False),
        sa.Column("kind", BY_CODE_POINT, nullable=False),
        sa.Column("granted_units", sa.BigInteger(), nullable=False),
        sa.Column("consumed_units", sa.BigInteger(), nullable=False),
        sa.Column("returned_units", sa.BigInteger(), nullable=False),
        sa.Column("held_units", sa.BigInteger(), nullable=False),
        sa.Column("closed", sa.Boolean(), nullable=False),
        sa.Column("recall_requested_us", sa.BigInteger(), nullable=True),
        sa.Column("create_us", sa.BigInteger(), nullable=False),
        sa.Column("update_us", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("account_id", "lease_id", name=op.f("pk_leases")),
    )
    op.create_index(op.f("ix_leases_create_us_lease_id"), "leases", ["create_us", "lease_id"], unique=False)
    op.create_index(
        "ix_leases_open",
        "leases",
        ["account_id", "kind", "service_uid"],
        unique=False,
        sqlite_where=sa.text("NOT closed"),
        postgresql_where=sa.text("NOT closed"),
    )
    op.create_index(
        "ix_leases_open_by_node",
        "leases",
        ["node", "epoch"],
        unique=False,
        sqlite_where=sa.text("NOT closed"),
        postgresql_where=sa.text("NOT closed"),
    )
    op.create_index(
        "ix_leases_recalled",
        "leases",
        ["recall_requested_us"],
        unique=False,
        sqlite_where=sa.text("recall_requested_us IS NOT NULL"),
        postgresql_where=sa.text("recall_requested_us IS NOT NULL"),
    )
    op.create_table(
        "ledger_entries",
        sa.Column("account_id", BY_CODE_POINT, nullable=False),
        sa.Column("entry_number", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("kind", BY_CODE_POINT, nullable=False),
        sa.Column("amount_nanos", sa.BigInteger(), nullable=False),
        sa.Column("service_id", BY_CODE_POINT, nullable=True),
        sa.Column("service_uid", BY_CODE_POINT, nullable=True),
        sa.Column("reason", BY_CODE_POINT, nullable=False),
        sa.Column("actor", BY_CODE_POINT, nullable=False),
        sa.Column("usage_minute_us", sa.BigInteger(), nullable=True),
        sa.Column("create_us", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("account_id", "entry_number", name=op.f("pk_ledger_entries")),
        sa.UniqueConstraint(
            "account_id",
            "service_uid",
            "usage_minute_us",
            name=op.f("uq_ledger_entries_account_id_service_uid_usage_minute_us"),
        ),
    )
    op.create_table(
        "meta",
        sa.Column("id", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("database_id", BY_CODE_POINT, nullable=False),
        sa.Column("config_version", sa.BigInteger(), nullable=False),
        sa.Column("metering_database_id", BY_CODE_POINT, nullable=True),
        sa.CheckConstraint("id = 1", name=op.f("ck_meta_one_row")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_meta")),
    )
    op.create_table(
        "model_aliases",
        sa.Column("alias", BY_CODE_POINT, nullable=False),
        sa.Column("model_id", BY_CODE_POINT, nullable=False),
        sa.PrimaryKeyConstraint("alias", name=op.f("pk_model_aliases")),
    )
    op.create_index(op.f("ix_model_aliases_model_id"), "model_aliases", ["model_id"], unique=False)
    op.create_table(
        "models",
        sa.Column("model_id", BY_CODE_POINT, nullable=False),
        sa.Column("uid", BY_CODE_POINT, nullable=False),
        sa.Column("display_name", BY_CODE_POINT, nullable=False),
        sa.Column("currency_code", BY_CODE_POINT, nullable=False),
        sa.Column("trial_quota_tokens", sa.BigInteger(), nullable=True),
        sa.Column("trial_valid_for_us", sa.BigInteger(), nullable=True),
        sa.Column("reservation_input_nanos", sa.BigInteger(), nullable=True),
        sa.Column("reservation_output_nanos", sa.BigInteger(), nullable=True),
        sa.Column("smallest_request_tokens", sa.BigInteger(), nullable=False),
        sa.Column("price_count", sa.BigInteger(), nullable=False),
        sa.Column("config_version", sa.BigInteger(), nullable=False),
        sa.Column("next_due_us", sa.BigInteger(), nullable=True),
        sa.Column("create_us", sa.BigInteger(), nullable=False),
        sa.Column("update_us", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("model_id", name=op.f("pk_models")),
    )
    op.create_index(op.f("ix_models_config_version"), "models", ["config_version"], unique=False)
    op.create_index(op.f("ix_models_next_due_us"), "models", ["next_due_us"], unique=False)
    op.create_table(
        "nodes",
        sa.Column("node", BY_CODE_POINT, nullable=False),
        sa.Column("epoch", sa.BigInteger(), nullable=False),
        sa.Column("acknowledged_version", sa.BigInteger(), nullable=False),
        sa.Column("exchange_number", sa.BigInteger(), nullable=False),
        sa.Column("last_heard_us", sa.BigInteger(), nullable=False),
        sa.Column("epoch_start_us", sa.BigInteger(), nullable=False),
        sa.Column("lease_valid_until_us", sa.BigInteger(), nullable=True),
        sa.PrimaryKeyConstraint("node", name=op.f("pk_nodes")),
    )
    op.create_table(
        "prices",
        sa.Column("model_id", BY_CODE_POINT, nullable=False),
        sa.Column("version", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("effective_us", sa.BigInteger(), nullable=False),
        sa.Column("input_nanos", sa.BigInteger(), nullable=False),
        sa.Column("cached_input_nanos", sa.BigInteger(), nullable=False),
        sa.Column("cache_write_nanos", sa.BigInteger(), nullable=False),
        sa.Column("output_nanos", sa.BigInteger(), nullable=False),
        sa.Column("reasoning_nanos", sa.BigInteger(), nullable=False),
        sa.Column("create_us", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("model_id", "version", name=op.f("pk_prices")),
    )
    op.create_table(
        "rate_buckets",
        sa.Column("account_id", BY_CODE_POINT, nullable=False),
        sa.Column("service_uid", BY_CODE_POINT, nullable=False),
        sa.Column("kind", BY_CODE_POINT, nullable=False),
        sa.Column("rate_tokens_per_minute", sa.BigInteger(), nullable=False),
        sa.Column("level_micro", sa.BigInteger(), nullable=False),
        sa.Column("updated_us", sa.BigInteger(), nullable=False),
        sa.Column("leased_units", sa.BigInteger(), nullable=False),
        sa.Column("spent_units", sa.BigInteger(), nullable=False),
        sa.CheckConstraint("leased_units >= 0", name=op.f("ck_rate_buckets_leased")),
        sa.PrimaryKeyConstraint("account_id", "service_uid", "kind", name=op.f("pk_rate_buckets")),
    )
    op.create_table(
        "reservations",
        sa.Column("account_id", BY_CODE_POINT, nullable=False),
        sa.Column("service_id", BY_CODE_POINT, nullable=False),
        sa.Column("reservation_number", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("input_tokens_per_minute", sa.BigInteger(), nullable=False),
        sa.Column("output_tokens_per_minute", sa.BigInteger(), nullable=False),
        sa.Column("overflow_policy", BY_CODE_POINT, nullable=False),
        sa.Column("paid_nanos", sa.BigInteger(), nullable=False),
        sa.Column("start_us", sa.BigInteger(), nullable=False),
        sa.Column("end_us", sa.BigInteger(), nullable=False),
        sa.Column("cancelled", sa.Boolean(), nullable=False),
        sa.PrimaryKeyConstraint("account_id", "service_id", "reservation_number", name=op.f("pk_reservations")),
    )
    op.create_table(
        "service_events",
        sa.Column("account_id", BY_CODE_POINT, nullable=False),
        sa.Column("service_id", BY_CODE_POINT, nullable=False),
        sa.Column("event_number", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("event_us", sa.BigInteger(), nullable=False),
        sa.Column("cause", BY_CODE_POINT, nullable=False),
        sa.Column("actor", BY_CODE_POINT, nullable=False),
        sa.Column("old_status", BY_CODE_POINT, nullable=False),
        sa.Column("new_status", BY_CODE_POINT, nullable=False),
        sa.Column("old_stop_reasons", BY_CODE_POINT, nullable=False),
        sa.Column("new_stop_reasons", BY_CODE_POINT, nullable=False),
        sa.PrimaryKeyConstraint("account_id", "service_id", "event_number", name=op.f("pk_service_events")),
    )
    op.create_table(
        "services",
        sa.Column("account_id", BY_CODE_POINT, nullable=False),
        sa.Column("service_id", BY_CODE_POINT, nullable=False),
        sa.Column("uid", BY_CODE_POINT, nullable=False),
        sa.Column("model_id", BY_CODE_POINT, nullable=False),
        sa.Column("kind", BY_CODE_POINT, nullable=False),
        sa.Column("display_name", BY_CODE_POINT, nullable=False),
        sa.Column("team", BY_CODE_POINT, nullable=False),
        sa.Column("labels", BY_CODE_POINT, nullable=False),
        sa.Column("trial_quota_tokens", sa.BigInteger(), nullable=True),
        sa.Column("trial_spent_tokens", sa.BigInteger(), nullable=True),
        sa.Column("trial_leased_tokens", sa.BigInteger(), nullable=True),
        sa.Column("trial_held_tokens", sa.BigInteger(), nullable=True),
        sa.Column("trial_smallest_tokens", sa.BigInteger(), nullable=True),
        sa.Column("trial_claim_us", sa.BigInteger(), nullable=True),
        sa.Column("trial_expire_us", sa.BigInteger(), nullable=True),
        sa.Column("postpaid", BY_CODE_POINT, nullable=False),
        sa.Column("suspended", sa.Boolean(), nullable=False),
        sa.Column("fleet_told", sa.Boolean(), nullable=False),
        sa.Column("activation_version", sa.BigInteger(), nullable=True),
        sa.Column("config_version", sa.BigInteger(), nullable=False),
        sa.Column("told_status", BY_CODE_POINT, nullable=False),
        sa.Column("told_stop_reasons", BY_CODE_POINT, nullable=False),
        sa.Column("told_billing_modes", BY_CODE_POINT, nullable=False),
        sa.Column("reservation_count", sa.BigInteger(), nullable=False),
        sa.Column("event_count", sa.BigInteger(), nullable=False),
        sa.Column("next_due_us", sa.BigInteger(), nullable=True),
        sa.Column("create_us", sa.BigInteger(), nullable=False),
        sa.Column("update_us", sa.BigInteger(), nullable=False),
        sa.Column("delete_us", sa.BigInteger(), nullable=True),
        sa.CheckConstraint("trial_leased_tokens >= 0", name=op.f("ck_services_trial_leased")),
        sa.PrimaryKeyConstraint("account_id", "service_id", name=op.f("pk_services")),
        sa.UniqueConstraint("uid", name=op.f("uq_services_uid")),
    )
    op.create_index(
        "ix_services_awaiting_fleet",
        "services",
        ["activation_version"],
        unique=False,
        sqlite_where=sa.text("NOT fleet_told AND activation_version IS NOT NULL"),
        postgresql_where=sa.text("NOT fleet_told AND activation_version IS NOT NULL"),
    )
    op.create_index(op.f("ix_services_config_version"), "services", ["config_version"], unique=False)
    op.create_index(
        op.f("ix_services_model_id_account_id_service_id"),
        "services",
        ["model_id", "account_id", "service_id"],
        unique=False,
    )
    op.create_index(op.f("ix_services_next_due_us"), "services", ["next_due_us"], unique=False)
    op.create_table(
        "trial_claims",
        sa.Column("account_id", BY_CODE_POINT, nullable=False),
        sa.Column("model_id", BY_CODE_POINT, nullable=False),
        sa.Column("service_id", BY_CODE_POINT, nullable=False),
        sa.Column("create_us", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("account_id", "model_id", name=op.f("pk_trial_claims")),
    )
    op.bulk_insert(
        sa.table("meta", sa.column("id"), sa.column("database_id"), sa.column("config_version")),
        [{"id": 1, "database_id": str(uuid.uuid4()), "config_version": 0}],
    )
