"""Tables of rate rules and budgets."""

from typing import Any

from sqlalchemy import CheckConstraint, Column, Index, Table, UniqueConstraint

from control_service.storage.columns import flag, key, metadata, number, text, where


def _place() -> tuple[Column[Any], ...]:
    """What a limit hangs on, as of `Place`."""
    return text("place_kind"), text("place_id"), text("place_uid")


def _times() -> tuple[Column[Any], ...]:
    return number("create_us"), number("update_us"), number("delete_us", nullable=True)


rate_rules = Table(
    "rate_rules",
    metadata,
    # Empty of a model's rule; and the model is empty of an account's.
    key("account_id"),
    key("of_model_id"),
    key("rule_id"),
    text("uid"),
    *_place(),
    text("metric"),
    number("limit_units"),
    number("period_us"),
    number("burst_units"),
    # The one model whose requests count; empty for all.
    text("model_id"),
    flag("dry_run"),
    *_times(),
    UniqueConstraint("account_id", "uid"),
    Index(None, "uid"),
    Index("ix_rate_rules_place", "account_id", "place_kind", "place_uid", **where("delete_us IS NULL")),
)

budgets = Table(
    "budgets",
    metadata,
    key("account_id"),
    key("budget_id"),
    text("uid"),
    *_place(),
    text("unit"),
    number("amount_units"),
    text("period"),
    text("time_zone"),
    text("member"),
    flag("soft"),
    number("raised_units"),
    number("raised_until_us", nullable=True),
    # The same until somebody has dealt with that end.
    number("raise_due_us", nullable=True),
    number("initial_spent_units"),
    # Ascending numbers, as JSON.
    text("threshold_percents"),
    *_times(),
    UniqueConstraint("account_id", "uid"),
    Index("ix_budgets_place", "account_id", "place_kind", "place_uid", **where("delete_us IS NULL")),
    Index("ix_budgets_raise_due", "raise_due_us", **where("raise_due_us IS NOT NULL AND delete_us IS NULL")),
)

limit_versions = Table(
    "limit_versions",
    metadata,
    # The account or the model whose limits changed with this version last; the other one is empty.
    key("account_id"),
    key("model_id"),
    number("config_version"),
    Index(None, "config_version"),
)

rule_pots = Table(
    "rule_pots",
    metadata,
    key("account_id"),
    key("limit_uid"),
    # RATE or SLOTS. Of slots only the limit and what is leased are in use.
    text("kind"),
    # The rule as it was when it was leased from last.
    number("limit_units"),
    number("period_ms"),
    number("burst_units"),
    flag("only_counts"),
    # In parts of a unit, as many as the period has milliseconds.
    number("level_parts"),
    number("updated_us"),
    number("leased_units"),
    number("spent_units"),
    CheckConstraint("leased_units >= 0", name="leased"),
)
