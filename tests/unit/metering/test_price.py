"""Tokens times price, divided once."""

import pytest

from metering_service.domain.counts import Counts
from metering_service.domain.price import NO_PRICE, Price

ODD = Price(3, input=1, cached_input=3, cache_write=7, output=11, reasoning=13)


@pytest.mark.parametrize(
    ("counts", "nanos"),
    [
        (Counts(), 0),
        (Counts(input=999_999), 0),
        (Counts(input=1_000_000), 1),
        (Counts(333_333, 333_333, 0, 0, 0), 1),
        (Counts(100_000, 100_000, 100_000, 100_000, 100_000), 3),
        (Counts(1_000_000_000, 1_000_000_000, 1_000_000_000, 1_000_000_000, 1_000_000_000), 35_000),
    ],
)
def test_a_cost_is_rounded_down_once(counts: Counts, nanos: int) -> None:
    """The kinds' parts are added before the one division: 0.333 and 0.999 make 1."""
    assert ODD.cost_nanos(counts) == nanos


def test_a_hold_goes_by_the_dearest_kind_of_each_class() -> None:
    """Kinds are known at the end only."""
    assert ODD.hold_nanos(1_000_000, 1_000_000) == 7 + 13
    assert ODD.hold_nanos(142_857, 0) == 0
    assert ODD.hold_nanos(142_858, 0) == 1


def test_no_price_is_something_else_than_a_price_of_zero() -> None:
    """Version 0 is no price; one of zero has a version, as every one that was published."""
    assert NO_PRICE.is_absent
    assert not Price(1).is_absent
    assert Price(1).cost_nanos(Counts(1 << 40, output=1 << 40)) == Price(1).hold_nanos(1 << 40, 1 << 40) == 0
