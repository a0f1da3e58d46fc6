"""Tables of the control database, keyed by account first wherever they belong to one.

Text keys compare by code point on every database, so that the order of names is the same. Every moment is in
microseconds since 1970, UTC.
"""

from sqlalchemy import CheckConstraint, Column, Index, LargeBinary, Table, UniqueConstraint

from control_service.storage.columns import flag as _flag
from control_service.storage.columns import key as _key
from control_service.storage.columns import metadata
from control_service.storage.columns import number as _number
from control_service.storage.columns import number_key as _number_key
from control_service.storage.columns import text as _text
from control_service.storage.columns import where as _where

meta = Table(
    "meta",
    metadata,
    _number_key("id"),
    _text("database_id"),
    _number("config_version"),
    _text("metering_database_id", nullable=True),
    # HMAC-SHA-256 of a constant by the pepper; none until a server with a pepper was started.
    Column("pepper_fingerprint", LargeBinary, nullable=True),
    CheckConstraint("id = 1", name="one_row"),
)

accounts = Table(
    "accounts",
    metadata,
    _key("account_id"),
    _text("uid"),
    _text("display_name"),
    _text("currency_code"),
    # The sum of all ledger lines but USAGE ones; balance = funds - spent.
    _number("funds_nanos"),
    _number("spent_nanos"),
    _number("leased_nanos"),
    _number("credit_limit_nanos"),
    _number("overdue_floor_nanos"),
    _text("overdue_policy"),
    # The latch: since when the account is overdue.
    _number("overdue_us", nullable=True),
    _number("ledger_entry_count"),
    # When to tell of trials, in percent, and of money, in what is left; numbers with commas between.
    _text("trial_percents"),
    _text("left_nanos_thresholds"),
    # The threshold that its money stands at.
    _number("told_left_nanos", nullable=True),
    _number("create_us"),
    _number("update_us"),
    _number("close_us", nullable=True),
    CheckConstraint("leased_nanos >= 0", name="leased"),
)

ledger_entries = Table(
    "ledger_entries",
    metadata,
    _key("account_id"),
    _number_key("entry_number"),
    _text("kind"),
    _number("amount_nanos"),
    _text("service_id", nullable=True),
    _text("service_uid", nullable=True),
    _text("reason"),
    _text("actor"),
    _text("actor_note"),
    # The minute, and later the hour or day, that a USAGE line adds up; null for other lines.
    _number("usage_minute_us", nullable=True),
    _number("create_us"),
    # That of the service when the line was opened; empty for none.
    _text("team"),
    UniqueConstraint("account_id", "service_uid", "usage_minute_us", "team"),
    Index(None, "account_id", "create_us"),
)

teams = Table(
    "teams",
    metadata,
    _key("account_id"),
    _key("team_id"),
    _text("display_name"),
    _number("create_us"),
    _number("delete_us", nullable=True),
)

services = Table(
    "services",
    metadata,
    _key("account_id"),
    _key("service_id"),
    _text("uid"),
    _text("model_id"),
    _text("kind"),
    _text("display_name"),
    # The id of a team of the account; empty where the service belongs to none.
    _text("team"),
    _text("labels"),
    # The trial claimed with it; all null where none was.
    _number("trial_quota_tokens", nullable=True),
    _number("trial_spent_tokens", nullable=True),
    _number("trial_leased_tokens", nullable=True),
    # Leased tokens that open requests hold, by the nodes' last statements.
    _number("trial_held_tokens", nullable=True),
    _number("trial_smallest_tokens", nullable=True),
    _number("trial_claim_us", nullable=True),
    _number("trial_expire_us", nullable=True),
    # The threshold that it stands at, in percent.
    _number("trial_told_percent", nullable=True),
    _text("postpaid"),
    _flag("suspended"),
    _text("outage_policy"),
    _number("outage_tokens_max"),
    _text("credential_policy"),
    _flag("shared"),
    _flag("exempt_from_model_rules"),
    # The latch: the first activation has reached the metering fleet.
    _flag("fleet_told"),
    _number("activation_version", nullable=True),
    _number("config_version"),
    # The status as it was last derived, so that a change is noticed.
    _text("told_status"),
    _text("told_stop_reasons"),
    _text("told_billing_modes"),
    _number("reservation_count"),
    _number("event_count"),
    # The next moment at which time alone changes its status.
    _number("next_due_us", nullable=True),
    _number("create_us"),
    _number("update_us"),
    _number("delete_us", nullable=True),
    UniqueConstraint("account_id", "uid"),
    Index(None, "model_id", "account_id", "service_id"),
    Index(None, "account_id", "team", "service_id"),
    Index(None, "told_status", "account_id", "service_id"),
    Index(None, "config_version"),
    Index(None, "next_due_us"),
    Index(
        "ix_services_awaiting_fleet",
        "activation_version",
        **_where("NOT fleet_told AND activation_version IS NOT NULL"),
    ),
    CheckConstraint("trial_leased_tokens >= 0", name="trial_leased"),
)

trial_claims = Table(
    "trial_claims",
    metadata,
    _key("account_id"),
    _key("model_id"),
    _text("service_id"),
    _number("create_us"),
)

reservations = Table(
    "reservations",
    metadata,
    _key("account_id"),
    _key("service_id"),
    _number_key("reservation_number"),
    _number("input_tokens_per_minute"),
    _number("output_tokens_per_minute"),
    _text("overflow_policy"),
    _number("paid_nanos"),
    _number("start_us"),
    # Moved forward by a cancellation.
    _number("end_us"),
    _flag("cancelled"),
)

rate_buckets = Table(
    "rate_buckets",
    metadata,
    _key("account_id"),
    _key("service_uid"),
    _key("kind"),
    _number("rate_tokens_per_minute"),
    _number("level_micro"),
    _number("updated_us"),
    _number("leased_units"),
    _number("spent_units"),
    CheckConstraint("leased_units >= 0", name="leased"),
)

service_events = Table(
    "service_events",
    metadata,
    _key("account_id"),
    _key("service_id"),
    _number_key("event_number"),
    _number("event_us"),
    _text("cause"),
    _text("actor"),
    _text("actor_note"),
    _text("old_status"),
    _text("new_status"),
    _text("old_stop_reasons"),
    _text("new_stop_reasons"),
    Index(None, "event_us"),
)

idempotency_keys = Table(
    "idempotency_keys",
    metadata,
    # An account's id, or empty for what belongs to no account.
    _key("scope"),
    # Who called, a member; empty where the server asks for no proof.
    _key("principal"),
    _key("method"),
    _key("idempotency_key"),
    Column("request_hash", LargeBinary, nullable=False),
    Column("response", LargeBinary, nullable=False),
    _number("create_us"),
    Index(None, "create_us"),
)

audit_entries = Table(
    "audit_entries",
    metadata,
    # Empty for the platform.
    _key("account_id"),
    _key("entry_id"),
    _number("event_us"),
    _text("outcome"),
    # Who: a member, the token that proved it, its word for itself, its address; empty where it is not known.
    _text("principal"),
    _text("access_token"),
    _text("caller_note"),
    _text("peer"),
    _text("method"),
    _text("resource"),
    _text("request_json"),
    _text("reason"),
    _number("call_count"),
    # The metering node that refused; empty for control.
    _text("node"),
    Index(None, "event_us", "entry_id"),
    Index(None, "account_id", "event_us", "entry_id"),
    Index(None, "principal", "event_us", "entry_id"),
    Index(None, "resource", "event_us", "entry_id"),
)

nodes = Table(
    "nodes",
    metadata,
    _key("node"),
    _number("epoch"),
    _number("acknowledged_version"),
    _number("exchange_number"),
    _number("last_heard_us"),
    # Since when the epoch is known: older ones are fenced from then on.
    _number("epoch_start_us"),
    _number("lease_valid_until_us", nullable=True),
    # Grows with every sign of life, so that replicas see one without comparing their clocks.
    _number("heard_count"),
    # No lease of an epoch below this one is open, and none will have a statement again.
    _number("settled_below_epoch"),
    # The last commit of this epoch that the node reported.
    _number("commit_no"),
    # Epochs up to this one were reconciled after a database had been restored.
    _number("recovered_epoch"),
    # How long the epoch leaves the leases of those before it open at the least, from its hello on.
    _number("leases_kept_us", nullable=True),
)

page_keys = Table(
    "page_keys",
    metadata,
    _number_key("number"),
    _number("create_us"),
    Column("secret", LargeBinary, nullable=False),
)

limit_pots = Table(
    "limit_pots",
    metadata,
    _key("account_id"),
    _key("limit_uid"),
    # Empty where all count together.
    _key("member_uid"),
    # 0 where the budget has no periods.
    _number_key("period_start_us"),
    _text("kind"),
    # The amount in force when it was leased from last.
    _number("capacity_units"),
    _number("leased_units"),
    _number("spent_units"),
    # The end of its period, or of its budget.
    _number("end_us", nullable=True),
    _number("told_percent"),
    CheckConstraint("leased_units >= 0", name="leased"),
    Index("ix_limit_pots_end_us", "end_us", **_where("end_us IS NOT NULL")),
)

leases = Table(
    "leases",
    metadata,
    _key("account_id"),
    _key("lease_id"),
    _text("node"),
    _number("epoch"),
    _text("service_id"),
    _text("service_uid"),
    _text("kind"),
    _number("granted_units"),
    _number("consumed_units"),
    _number("returned_units"),
    _number("held_units"),
    _flag("closed"),
    _number("recall_requested_us", nullable=True),
    _number("create_us"),
    _number("update_us"),
    # Of a limit's pot, of which the service's id and uid are empty: which one.
    _text("limit_uid", nullable=True),
    _text("member_uid", nullable=True),
    _number("period_start_us", nullable=True),
    # Of a rate rule: what requests put back onto it.
    _number("refunded_units"),
    Index(None, "create_us", "lease_id"),
    Index("ix_leases_open", "account_id", "kind", "service_uid", **_where("NOT closed")),
    Index(
        "ix_leases_of_limits",
        "account_id",
        "limit_uid",
        "member_uid",
        "period_start_us",
        **_where("limit_uid IS NOT NULL"),
    ),
    Index(
        "ix_leases_open_of_limits",
        "account_id",
        "limit_uid",
        "member_uid",
        "period_start_us",
        **_where("NOT closed AND limit_uid IS NOT NULL"),
    ),
    Index("ix_leases_open_by_node", "node", "epoch", **_where("NOT closed")),
    Index("ix_leases_closed_by_node", "node", "epoch", **_where("closed")),
    Index("ix_leases_recalled", "recall_requested_us", **_where("recall_requested_us IS NOT NULL")),
)
