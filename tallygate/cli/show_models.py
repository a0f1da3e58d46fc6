"""Models and prices as people see them."""

from __future__ import annotations

from collections.abc import Iterable

from rich.table import Table

from tallygate.cli.money import format_amount
from tallygate.cli.show import status_text, time_text
from tallygate.cli.show_access import table
from tallygate.control.v1 import inference_service_pb2, model_offer_pb2, model_pb2

_KINDS = ("input", "cached input", "cache write", "output", "reasoning")


def model_table(models: Iterable[model_pb2.Model]) -> Table:
    """Many models; prices are per million tokens."""
    return table(
        ("model", "aliases", "retired", "free trial", *_KINDS),
        (
            (
                one.name,
                ", ".join(one.aliases),
                f"since {time_text(one.retire_time)}" if one.HasField("retire_time") else "no",
                f"{one.trial_offer.quota_tokens:,} tokens" if one.HasField("trial_offer") else "none",
                *(_amounts(one.current_price, one.currency_code) if one.HasField("current_price") else ("no price",)),
            )
            for one in models
        ),
    )


def price_table(prices: Iterable[model_pb2.Price], currency: str) -> Table:
    """Versions of a price, per million tokens."""
    return table(
        ("price", "in effect from", *_KINDS, "source"),
        ((one.name, _effect_text(one), *_amounts(one, currency), one.source) for one in prices),
    )


def _effect_text(price: model_pb2.Price) -> str:
    """From when the version holds, or that it never does."""
    if price.HasField("withdraw_time"):
        return f"never: withdrawn {time_text(price.withdraw_time)}"
    return time_text(price.effective_time)


def offer_table(offers: Iterable[model_offer_pb2.ModelOffer]) -> Table:
    """Models as an account sees them; a service that one does not see has no status."""
    return table(
        ("model", "free trial", "default service", "status", "you may"),
        (
            (
                one.model.name,
                model_offer_pb2.TrialState.Name(one.trial_state).removeprefix("TRIAL_STATE_")
                + (f" ({one.trial_service})" if one.trial_service else ""),
                one.default_service.name,
                str(status_text(one.default_service)) if one.HasField("default_service") else "",
                ", ".join(map(_action, one.default_service.actions)),
            )
            for one in offers
        ),
    )


def _action(action: inference_service_pb2.ServiceAction.ValueType) -> str:
    """An action as people say it: `claim free trial`."""
    return inference_service_pb2.ServiceAction.Name(action).removeprefix("SERVICE_ACTION_").replace("_", " ").lower()


def _amounts(price: model_pb2.Price, currency: str) -> tuple[str, ...]:
    nanos = (
        price.input_nanos_per_million_tokens,
        price.cached_input_nanos_per_million_tokens,
        price.cache_write_nanos_per_million_tokens,
        price.output_nanos_per_million_tokens,
        price.reasoning_nanos_per_million_tokens,
    )
    return tuple(format_amount(one, currency) for one in nanos)
