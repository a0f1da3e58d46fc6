"""Currencies: those of ISO 4217, as a maintained list has them."""

from difflib import get_close_matches
from typing import Final

from iso4217 import Currency

CODES: Final = frozenset(currency.code for currency in Currency)
"""The codes that there are, those for tests and for no currency included."""


def nearest_currencies(text: str) -> list[str]:
    """Codes that look like what is none, the likeliest first: three at most."""
    return get_close_matches(text.upper(), sorted(CODES), n=3, cutoff=0.5)
