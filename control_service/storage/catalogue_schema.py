"""Tables of the catalogue: models with their aliases and prices."""

from sqlalchemy import Column, Index, Table

from control_service.storage.columns import BY_CODE_POINT, key, metadata, number, number_key, text

models = Table(
    "models",
    metadata,
    key("model_id"),
    text("uid"),
    text("display_name"),
    text("currency_code"),
    number("trial_quota_tokens", nullable=True),
    number("trial_valid_for_us", nullable=True),
    number("reservation_input_nanos", nullable=True),
    number("reservation_output_nanos", nullable=True),
    number("smallest_request_tokens"),
    number("output_tokens_max"),
    number("whole_output_tokens_default"),
    number("price_count"),
    number("config_version"),
    # The moment at which the next price takes effect that was not announced to nodes, or since when services wait.
    number("next_due_us", nullable=True),
    number("create_us"),
    number("update_us"),
    number("retire_us", nullable=True),
    Index(None, "config_version"),
    Index(None, "next_due_us"),
)

model_aliases = Table(
    "model_aliases",
    metadata,
    key("alias"),
    text("model_id"),
    Index(None, "model_id"),
)

prices = Table(
    "prices",
    metadata,
    key("model_id"),
    number_key("version"),
    number("effective_us"),
    number("input_nanos"),
    number("cached_input_nanos"),
    number("cache_write_nanos"),
    number("output_nanos"),
    number("reasoning_nanos"),
    number("create_us"),
    Column("source", BY_CODE_POINT, nullable=False, server_default=""),
)

# Versions that were withdrawn before they took effect. They are in no other table, so that nothing puts them in force.
withdrawn_prices = Table(
    "withdrawn_prices",
    metadata,
    key("model_id"),
    number_key("version"),
    number("effective_us"),
    number("input_nanos"),
    number("cached_input_nanos"),
    number("cache_write_nanos"),
    number("output_nanos"),
    number("reasoning_nanos"),
    number("create_us"),
    Column("source", BY_CODE_POINT, nullable=False, server_default=""),
    number("withdraw_us"),
)
