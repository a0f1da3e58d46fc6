"""Token prices: immutable versions, each with the time from which it holds."""

from collections.abc import Iterable
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Price:
    """One version; prices are nanos per million tokens, by kind.

    `source` says where it comes from, for people. `withdraw_us` is when it was withdrawn, before it took effect; such a
    version is never in force.
    """

    model_id: str
    version: int
    effective_us: int
    input_nanos: int
    cached_input_nanos: int
    cache_write_nanos: int
    output_nanos: int
    reasoning_nanos: int
    create_us: int
    source: str = ""
    withdraw_us: int | None = None

    @property
    def withdrawn(self) -> bool:
        """Whether it was withdrawn before it took effect."""
        return self.withdraw_us is not None


def price_in_force(prices: Iterable[Price], now_us: int) -> Price | None:
    """The version in effect that took effect last, the higher of two that did so together; None without any."""
    in_effect = (price for price in prices if price.effective_us <= now_us)
    return max(in_effect, key=lambda price: (price.effective_us, price.version), default=None)


def next_effective_us(prices: Iterable[Price], now_us: int) -> int | None:
    """The moment at which the next version takes effect; None if none is to come."""
    return min((price.effective_us for price in prices if price.effective_us > now_us), default=None)
