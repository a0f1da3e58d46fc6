"""Forms: what was typed as the contract wants it, exactly, or a sentence beside the field."""

import pytest

from tallygate.console.forms import FieldError, Form


def typed(text: str) -> Form:
    return Form({"it": [text]})


@pytest.mark.parametrize(
    ("text", "number"),
    [
        ("10000", 10_000),
        (" 10,000 ", 10_000),
        ("1_000", 1_000),
        ("1 000 000", 1_000_000),
        ("-5", -5),
        ("", 7),
        ("  ", 7),
    ],
)
def test_whole_numbers(text: str, number: int) -> None:
    """Thousands may be set off, and nothing typed is the default."""
    assert typed(text).number("it", 7) == number


@pytest.mark.parametrize(
    "text", ["1.5", "ten", "9223372036854775808", "1e3", "٣x", "--1", "1,5", "10,00", "1,0000", "1,000 000", ","]
)
def test_what_is_no_whole_number(text: str) -> None:
    """The sentence is for this field."""
    with pytest.raises(FieldError, match="whole number") as caught:
        typed(text).number("it")
    assert caught.value.field == "it"


@pytest.mark.parametrize(
    ("text", "nanos"),
    [
        ("12.50", 12_500_000_000),
        ("0.000000001", 1),
        ("-1", -1_000_000_000),
        ("1,000", 1_000_000_000_000),
        ("-1,000.50", -1_000_500_000_000),
        ("", None),
    ],
)
def test_amounts_are_exact(text: str, nanos: int | None) -> None:
    """To the nano, without a float in between."""
    assert typed(text).nanos("it") == nanos


@pytest.mark.parametrize(
    "text",
    ["1.0000000001", "9223372037", "1e9", "NaN", "12,5.0x", ".", "1,5", "12,50", "0,25", "0,250", "1.000,50", ",5"],
)
def test_what_is_no_amount(text: str) -> None:
    """More decimals than there are nanos are refused, not rounded."""
    with pytest.raises(FieldError, match="amount"):
        typed(text).nanos("it")


@pytest.mark.parametrize("text", ["tomorrow", "0001-01-01T00:00+14:00", "2030-02-30T00:00"])
def test_what_is_no_time(text: str) -> None:
    """Nor is a moment before all years."""
    with pytest.raises(FieldError, match="no time"):
        typed(text).time("it")
