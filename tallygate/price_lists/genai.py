"""The package genai-prices: prices of many providers, with their history, in dollars per million tokens."""

from __future__ import annotations

from datetime import datetime
from decimal import Decimal
from importlib.metadata import version
from typing import Final

from genai_prices import data
from genai_prices.types import ConditionalPrice, ModelInfo, ModelPrice, StartDateConstraint, TieredPrices

from tallygate.price_lists.entry import Entry, entry_of

_KINDS: Final = {
    "input_mtok": "input",
    "cache_read_mtok": "cached_input",
    "cache_write_mtok": "cache_write",
    "output_mtok": "output",
    "output_reasoning_mtok": "reasoning",
}
_OF_TOKENS: Final = "_mtok"
"""End of the names of what tokens cost; the rest is counted in searches, hours, pages."""


def read(now: datetime) -> tuple[str, list[Entry]]:
    """What the package is called as a source of prices, and its entries as of this moment, `provider/model`."""
    entries = [
        _entry(f"{provider.id}/{model.id}", model, now) for provider in data.providers for model in provider.models
    ]
    return f"genai-prices {version('genai-prices')}", entries


def _entry(name: str, model: ModelInfo, now: datetime) -> Entry:
    problems: list[str] = []
    if isinstance(model.prices, list):
        if any(not isinstance(one.constraint, StartDateConstraint | None) for one in model.prices):
            problems.append("its price depends on the time of day")
        later = [one for one in model.prices if _is_to_come(one, now)]
    else:
        later = []
    said = _said(model.get_prices(now))
    tiers = sorted(key for key, price in said.items() if isinstance(price, TieredPrices))
    if tiers:
        problems.append(f"its price depends on the length of the input ({', '.join(tiers)})")
    others = sorted(key for key in said if key.endswith(_OF_TOKENS) and key not in _KINDS)
    if others:
        problems.append(f"our prices cannot say {', '.join(others)}")
    apart = [key for key in sorted(said) if not key.endswith(_OF_TOKENS)]
    variants = (one for one in model.price_variants or () if _said(one.prices))
    apart += sorted({f"{key}={value}" for one in variants for key, value in one.when.items()})
    apart += [f"another price from {one.constraint.start_date}" for one in later if one.constraint]  # type: ignore[union-attr]
    dollars = {_KINDS[key]: price for key, price in said.items() if key in _KINDS and isinstance(price, Decimal)}
    missing = {_KINDS[key]: Decimal(0) for key in tiers if key in _KINDS}
    return entry_of(name, missing | dollars, problems, tuple(apart))


def _said(price: ModelPrice) -> dict[str, Decimal | TieredPrices]:
    return {key: value for key, value in vars(price).items() if value is not None}


def _is_to_come(price: ConditionalPrice, now: datetime) -> bool:
    return isinstance(price.constraint, StartDateConstraint) and not price.constraint.active(now)
