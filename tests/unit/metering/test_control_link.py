"""What goes into an exchange when there is more to say than it takes."""

import pytest

from metering_service.api.control_link import _first
from metering_service.domain.pool import Statement
from metering_service.domain.records import BudgetKind


def statement(lease: int, *, needed: int) -> Statement:
    """Of one lease, for which somebody waits or not."""
    return Statement(f"lease-{lease}", "service", "uid", BudgetKind.MONEY, 0, 0, 0, 0, needed, closing=False)


@pytest.mark.parametrize(
    ("others", "waited_for", "taken_others", "taken_waited_for"),
    [(0, 0, 0, 0), (4, 0, 4, 0), (0, 12, 0, 10), (12, 0, 10, 0), (12, 3, 7, 3), (12, 12, 5, 5), (2, 12, 2, 8)],
)
def test_who_waits_goes_first_and_leaves_half(
    others: int, waited_for: int, taken_others: int, taken_waited_for: int
) -> None:
    """In the order in which they were said; neither kind can keep the other from being heard for ever."""
    said = [statement(number, needed=0) for number in range(others)]
    said += [statement(100 + number, needed=1) for number in range(waited_for)]
    first = _first(said, 10)
    assert [one.lease_id for one in first] == [
        *(f"lease-{100 + number}" for number in range(taken_waited_for)),
        *(f"lease-{number}" for number in range(taken_others)),
    ]
