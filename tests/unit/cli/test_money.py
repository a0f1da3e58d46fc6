"""Money as people type and read it."""

from __future__ import annotations

import pytest
import typer
from hypothesis import given
from hypothesis import strategies as st

from tallygate.cli.money import format_amount, parse_amount
from tests.harness.programs.command import typed


@pytest.mark.parametrize(
    ("text", "nanos"),
    [
        ("12.50", 12_500_000_000),
        ("12", 12_000_000_000),
        ("0.000000001", 1),
        ("-3.1", -3_100_000_000),
        ("12500000000n", 12_500_000_000),
        ("-7n", -7),
        ("9223372036.854775807", 2**63 - 1),
    ],
)
def test_an_amount_is_exact(text: str, nanos: int) -> None:
    """Units with up to nine decimals, or nanos; nothing is rounded."""
    assert parse_amount(text) == nanos


@pytest.mark.parametrize(
    "text", ["", "1.", ".5", "1.0000000001", "1e3", "1,000", "n", "½", "9223372036.854775808", "1 n"]
)
def test_what_is_not_exact_is_refused(text: str) -> None:
    """An amount that cannot be held exactly is an error, never rounded."""
    with pytest.raises(typer.BadParameter):
        parse_amount(text)


def test_an_amount_beyond_all_bounds_says_the_bound() -> None:
    """Rather than that it is no amount."""
    for text in ("99999999999", "9" * 20 + "n"):
        with pytest.raises(typer.BadParameter, match=r"9,223,372,036\.854775807"):
            parse_amount(text)


@pytest.mark.parametrize(
    ("nanos", "text"),
    [
        (12_500_000_000, "12.50 USD"),
        (812, "0.000000812 USD"),
        (-1, "-0.000000001 USD"),
        (0, "0.00 USD"),
        (1_234_567_000_000_000, "1,234,567.00 USD"),
    ],
)
def test_an_amount_shows_all_its_decimals(nanos: int, text: str) -> None:
    """At least two decimals, and as many more as there are."""
    assert format_amount(nanos, "USD") == text


@given(st.integers(-(2**63) + 1, 2**63 - 1))
def test_what_is_shown_can_be_typed(nanos: int) -> None:
    """Parsing what was formatted gives the same nanos."""
    assert parse_amount(format_amount(nanos).replace(",", "")) == nanos


@pytest.mark.parametrize("prices", [("0", "1"), ("1", "0"), ("1", "1", "--cached-input", "0")])
def test_a_price_of_nothing_is_asked_about(prices: tuple[str, ...]) -> None:
    """Before anything is published: nobody is there to answer, so that nothing happens."""
    given, taken, *further = prices
    said = typed("model", "publish-price", "llama", "--input", given, "--output", taken, *further)
    assert (said.status, said.err.splitlines()[0].replace(": ", ":")) == (
        1,
        "Give tokens of models/llama away for nothing, at a price of 0? [y/N]:Aborted!",
    )
