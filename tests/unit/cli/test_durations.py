"""Lengths of time as people type them."""

import pytest
import typer

from tallygate.cli.durations import parse_duration


@pytest.mark.parametrize(("text", "seconds"), [("30s", 30), ("15m", 900), ("12h", 43_200), ("90d", 7_776_000)])
def test_a_length_is_a_number_with_its_unit(text: str, seconds: int) -> None:
    """Whole numbers only."""
    assert parse_duration(text).seconds == seconds


@pytest.mark.parametrize("text", ["", "90", "d", "0d", "-1d", "1.5h", "1w", "1 d", "99999999d"])
def test_other_texts_are_no_length(text: str) -> None:
    """And the error shows what would be."""
    with pytest.raises(typer.BadParameter, match="90d, 12h"):
        parse_duration(text)
