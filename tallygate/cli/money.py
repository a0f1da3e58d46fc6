"""Money as people read and type it. Inside it is always an integer count of nanos (1e-9) of a currency."""

from __future__ import annotations

import re

import typer

from tallygate._wire.amounts import NANOS, units_text

_DECIMALS = 9
_AMOUNT = re.compile(r"([+-]?)(\d{1,40})(?:\.(\d{1,9}))?")
_NANOS = re.compile(r"[+-]?\d{1,40}n")
_NANOS_MAX = 2**63 - 1


def parse_amount(text: str | int) -> int:
    """An amount in nanos: `12.50` is units of the currency, `12500000000n` is nanos. Exact, or refused.

    An option's default comes as the integer that it is.
    """
    if isinstance(text, int):
        return text
    if _NANOS.fullmatch(text):
        nanos = int(text[:-1])
    else:
        match = _AMOUNT.fullmatch(text)
        if match is None:
            raise typer.BadParameter(
                f"{text!r} is not an amount; write units with at most 9 decimals, as 12.50, or nanos, as 12500000000n"
            )
        sign, whole, fraction = match.groups()
        nanos = int(whole) * NANOS + int((fraction or "").ljust(_DECIMALS, "0"))
        nanos = -nanos if sign == "-" else nanos
    if abs(nanos) > _NANOS_MAX:
        raise typer.BadParameter(f"{text!r} is more than an account can hold, which is {format_amount(_NANOS_MAX)}")
    return nanos


def parse_price(text: str | int) -> int:
    """A price in nanos, as `parse_amount`; zero or more."""
    nanos = parse_amount(text)
    if nanos < 0:
        raise typer.BadParameter(f"{text!r} is below zero; a price is zero or more")
    return nanos


def format_amount(nanos: int, currency: str = "") -> str:
    """Units with all decimals that there are, at least two: `12.50 USD`, `-0.000000812 USD`."""
    whole, _, decimals = units_text(nanos).partition(".")
    sign = "-" if nanos < 0 else ""
    return f"{sign}{int(whole.lstrip('-')):,}.{decimals} {currency}".rstrip()
