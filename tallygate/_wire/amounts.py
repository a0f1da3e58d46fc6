"""Money in units of its currency, as a decimal text: exact, with a point, without an exponent."""

from __future__ import annotations

from typing import Final

NANOS: Final = 1_000_000_000
"""Number of nanos of one unit of a currency."""


def units_text(nanos: int) -> str:
    """Units with all decimals that there are, and at least two: `12.50`, `-0.000000812`, `0.00`."""
    whole, fraction = divmod(abs(nanos), NANOS)
    decimals = f"{fraction:09d}".rstrip("0").ljust(2, "0")
    return f"{'-' if nanos < 0 else ''}{whole}.{decimals}"
