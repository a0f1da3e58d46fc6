"""What of an account's pots does not add up."""

import pytest

from tallygate.control.v1 import pot_pb2
from tallygate.replay.books import imbalances_of


@pytest.mark.parametrize(
    ("kind", "limit_uid", "found"),
    [
        (pot_pb2.POT_KIND_MONEY, "", ["POT_KIND_MONEY: capacity 100, its parts 99"]),
        (pot_pb2.POT_KIND_BUDGET_TOKENS, "uid", ["POT_KIND_BUDGET_TOKENS of uid: capacity 100, its parts 99"]),
        (pot_pb2.POT_KIND_BUDGET_MONEY, "uid", ["POT_KIND_BUDGET_MONEY of uid: capacity 100, its parts 99"]),
        (pot_pb2.POT_KIND_RESERVATION_OUTPUT, "", []),
    ],
)
def test_a_pot_whose_parts_do_not_add_up_is_named(
    kind: pot_pb2.PotKind.ValueType, limit_uid: str, found: list[str]
) -> None:
    """Budgets as well; what accrues spends more than its capacity by and by."""
    limit = pot_pb2.LimitPot(limit_uid=limit_uid) if limit_uid else None
    pot = pot_pb2.Pot(
        kind=kind, capacity_units=100, available_units=50, leased_units=30, spent_units=19, limit_pot=limit
    )
    assert imbalances_of(pot) == found
    pot.spent_units = 20
    assert imbalances_of(pot) == []
