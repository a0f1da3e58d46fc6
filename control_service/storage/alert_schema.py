"""Tables of alerts: what was told, whom it is sent to, and how far each delivery is."""

from sqlalchemy import Column, Index, LargeBinary, Table, UniqueConstraint

from control_service.storage.columns import flag, key, metadata, number, number_key, text, where

alert_counts = Table(
    "alert_counts",
    metadata,
    key("account_id"),
    number("alert_count"),
)

alerts = Table(
    "alerts",
    metadata,
    key("account_id"),
    number_key("alert_number"),
    text("kind"),
    text("resource"),
    # Whole numbers and words by name, as JSON.
    text("figures"),
    text("words"),
    number("create_us"),
    Index(None, "create_us"),
)

webhooks = Table(
    "webhooks",
    metadata,
    key("account_id"),
    key("webhook_id"),
    text("uid"),
    text("url"),
    # Empty for all kinds.
    text("kinds"),
    flag("disabled"),
    flag("gone"),
    # What secrets are derived from, together with a key that is not in the database.
    Column("salt", LargeBinary, nullable=False),
    Column("previous_salt", LargeBinary, nullable=True),
    number("previous_until_us", nullable=True),
    number("create_us"),
    number("update_us"),
    UniqueConstraint("account_id", "uid"),
    Index(None, "uid"),
)

deliveries = Table(
    "webhook_deliveries",
    metadata,
    key("account_id"),
    key("webhook_uid"),
    key("message_id"),
    text("webhook_id"),
    number("alert_number"),
    number("create_us"),
    number("give_up_us"),
    # Null once it has ended; the end of the lease while somebody sends it.
    number("next_attempt_us", nullable=True),
    text("state"),
    number("attempt_count"),
    number("last_attempt_us", nullable=True),
    number("last_status"),
    text("last_problem"),
    Index("ix_webhook_deliveries_due", "next_attempt_us", **where("next_attempt_us IS NOT NULL")),
    Index(
        "ix_webhook_deliveries_due_by_webhook",
        "webhook_uid",
        "next_attempt_us",
        "alert_number",
        **where("next_attempt_us IS NOT NULL"),
    ),
    Index(None, "webhook_uid", "create_us", "message_id"),
    Index("ix_webhook_deliveries_ended", "create_us", **where("next_attempt_us IS NULL")),
)
