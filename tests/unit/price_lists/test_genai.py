"""The package genai-prices: what it says now, and what of it no price of ours can say."""

from datetime import UTC, date, datetime, time
from decimal import Decimal

import pytest
from genai_prices import data
from genai_prices.types import (
    ClauseEquals,
    ConditionalPrice,
    ModelInfo,
    ModelPrice,
    PriceVariant,
    StartDateConstraint,
    Tier,
    TieredPrices,
    TimeOfDateConstraint,
)

from tallygate.price_lists import genai
from tallygate.price_lists.entry import Entry

NOW = datetime(2026, 6, 1, tzinfo=UTC)
PLAIN = ModelPrice(input_mtok=Decimal("2.5"), output_mtok=Decimal(10))


def read(
    monkeypatch: pytest.MonkeyPatch,
    prices: ModelPrice | list[ConditionalPrice],
    variants: list[PriceVariant] | None = None,
) -> Entry:
    """The entry of a model with these prices."""
    model = ModelInfo("m", ClauseEquals("m"), prices=prices, price_variants=variants)
    (provider, *_) = data.providers
    monkeypatch.setattr(provider, "models", [model])
    monkeypatch.setattr(data, "providers", [provider])
    source, (entry,) = genai.read(NOW)
    assert source.startswith("genai-prices 0.2.")
    return entry


def test_the_price_of_today_is_read(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of several by their dates; one to come is said."""
    later = ModelPrice(input_mtok=Decimal(9), output_mtok=Decimal(9))
    entry = read(
        monkeypatch,
        [
            ConditionalPrice(prices=later),
            ConditionalPrice(StartDateConstraint(date(2026, 1, 1)), prices=PLAIN),
            ConditionalPrice(StartDateConstraint(date(2026, 7, 1)), prices=later),
        ],
    )
    assert entry.price == (2_500_000_000, 2_500_000_000, 2_500_000_000, 10_000_000_000, 10_000_000_000)
    assert (entry.problem, entry.left_out) == ("", ("another price from 2026-07-01",))


def test_each_kind_has_its_price(monkeypatch: pytest.MonkeyPatch) -> None:
    """Searches and other tiers of service are left out, and said."""
    price = ModelPrice(
        input_mtok=Decimal(1),
        cache_read_mtok=Decimal("0.1"),
        cache_write_mtok=Decimal("1.25"),
        output_mtok=Decimal(4),
        output_reasoning_mtok=Decimal(5),
        web_searches_kcount=Decimal(10),
    )
    variants = [PriceVariant({"processing": "batch"}, PLAIN), PriceVariant({"processing": "usual"}, ModelPrice())]
    entry = read(monkeypatch, price, variants)
    assert entry.price == (1_000_000_000, 100_000_000, 1_250_000_000, 4_000_000_000, 5_000_000_000)
    assert (entry.problem, entry.left_out) == ("", ("web_searches_kcount", "processing=batch"))


def test_what_no_price_says(monkeypatch: pytest.MonkeyPatch) -> None:
    """Tiers, times of day, tokens of other media, fractions of a nano, and an output without a price."""
    tiered = TieredPrices(Decimal(1), [Tier(200_000, Decimal(2))])
    window = TimeOfDateConstraint(time(16, 30, tzinfo=UTC), time(0, 30, tzinfo=UTC))
    for prices, problem in (
        (ModelPrice(input_mtok=tiered, output_mtok=Decimal(1)), "depends on the length of the input (input_mtok)"),
        ([ConditionalPrice(prices=PLAIN), ConditionalPrice(window, prices=PLAIN)], "depends on the time of day"),
        (ModelPrice(input_audio_mtok=Decimal(1), input_mtok=Decimal(1), output_mtok=Decimal(1)), "input_audio_mtok"),
        (ModelPrice(input_mtok=Decimal("0.00000000125"), output_mtok=Decimal(1)), "no whole number of nanos"),
        (ModelPrice(input_mtok=Decimal(1)), "there is no price for output"),
    ):
        assert problem in read(monkeypatch, prices).problem


def test_the_list_that_comes_along_is_read() -> None:
    """Most of it says no more than our prices can; every amount that is taken is what the list has."""
    _, found = genai.read(datetime.now(UTC))
    taken = [one for one in found if not one.problem]
    assert len(taken) > len(found) / 2
    assert all(one.price[0] or one.price[3] for one in taken)
