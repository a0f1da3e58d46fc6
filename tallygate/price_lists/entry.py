"""One entry of a price list: what a token of each kind costs, and what of it our prices cannot say."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from decimal import Decimal
from typing import Final

KINDS: Final = ("input", "cached_input", "cache_write", "output", "reasoning")
"""Kinds of tokens that have a price."""
LIKE: Final = {"cached_input": "input", "cache_write": "input", "reasoning": "output"}
"""Kinds without a price of their own, and the kind whose price they have then."""
NANOS_MAX: Final = 10**18
"""Maximum price, in nanos per million tokens."""
_NANOS_DIGITS: Final = 9


@dataclass(frozen=True, slots=True)
class Entry:
    """An entry. `nanos`: per million tokens, by kind, of those that are said.

    `problem`: why it cannot be a price of ours; empty where it can. `left_out`: what costs apart from tokens, or on
    other terms, and is in no price of ours.
    """

    name: str
    nanos: Mapping[str, int]
    problem: str = ""
    left_out: tuple[str, ...] = ()

    @property
    def price(self) -> tuple[int, ...]:
        """Nanos by kind, in the order of `KINDS`, as a publication of them comes out."""
        return tuple(self.nanos.get(kind, self.nanos.get(LIKE.get(kind, kind), 0)) for kind in KINDS)


def entry_of(name: str, dollars: Mapping[str, Decimal], problems: list[str], left_out: tuple[str, ...] = ()) -> Entry:
    """An entry of amounts per million tokens, by kind; what is no whole number of nanos is a problem, never rounded."""
    problems = list(problems)
    nanos: dict[str, int] = {}
    for kind, amount in dollars.items():
        scaled = moved(amount, _NANOS_DIGITS)
        if not scaled.is_finite() or not 0 <= scaled <= NANOS_MAX:
            problems.append(f"{kind.replace('_', ' ')} at {amount} is out of range")
        elif scaled != int(scaled):
            problems.append(f"{kind.replace('_', ' ')} at {amount} per million is no whole number of nanos")
        else:
            nanos[kind] = int(scaled)
    problems += [f"there is no price for {kind}" for kind in ("input", "output") if kind not in dollars]
    if not problems and not any(nanos.values()):
        problems.append("it costs nothing: publish a price of 0 by `tallygate model publish-price`, if that is meant")
    return Entry(name, nanos, "; ".join(problems), left_out)


def moved(amount: Decimal, places: int) -> Decimal:
    """The amount with its point moved to the right, exactly: `scaleb` would round it to the context's 28 digits."""
    sign, digits, exponent = amount.as_tuple()
    return Decimal((sign, digits, exponent + places)) if isinstance(exponent, int) else amount
