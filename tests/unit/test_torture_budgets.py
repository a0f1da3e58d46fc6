"""What the torture says of budgets' pots: any unit that pots and records do not have in common is found."""

import json
from typing import Any

import pytest

from tests.torture.budgets import PAYERS, wrong_pots

BUDGET = {"uid": "u", "account_id": "acme", "budget_id": "daily", "unit": "TOKENS", "amount_units": 100, "soft": False}
POT = {"limit_uid": "u", "member_uid": "", "period_start_us": 7, "spent_units": 90, "leased_units": 0}
KEY = ["u", "", 7]


def record(tokens: int, pots: list[list[object]], *, overrun: int = 0, nanos: int = 0) -> dict[str, Any]:
    used = {payer: json.dumps([0, 0]) for payer in PAYERS} | {"billed": json.dumps([tokens, 0])}
    service = "accounts/acme/services/chat"
    return {**used, "service": service, "pots": json.dumps(pots), "overrun_tokens": overrun, "cost_nanos": nanos}


def test_a_pot_has_spent_what_its_requests_used() -> None:
    """Tokens or money; up to the amount, and an overrun beyond it."""
    tokens = [record(60, [["budget_tokens", *KEY]]), record(30, [["budget_tokens", *KEY]])]
    assert not list(wrong_pots([BUDGET], [POT], tokens))
    over = [*tokens, record(20, [["budget_tokens", *KEY]], overrun=10)]
    assert not list(wrong_pots([BUDGET], [{**POT, "spent_units": 110}], over))
    money = {**BUDGET, "unit": "MONEY"}
    assert not list(wrong_pots([money], [POT], [record(5, [["budget_money", *KEY]], nanos=90), record(5, [])]))


@pytest.mark.parametrize(
    ("pot", "records", "sentence"),
    [
        ({"spent_units": 91}, [record(90, [["budget_tokens", *KEY]])], "91 units spent, records have 90"),
        ({"leased_units": 3}, [record(90, [["budget_tokens", *KEY]])], "3 units never came back"),
        ({}, [record(90, [["budget_tokens", *KEY]]), record(1, [])], "all requests of the account used 91"),
        ({"spent_units": 111}, [record(111, [["budget_tokens", *KEY]], overrun=10)], "111 tokens are spent of 100"),
        ({}, [record(90, [["budget_tokens", *KEY], ["budget_tokens", "v", "", 0]])], "control does not have"),
    ],
)
def test_each_fault_has_its_sentence(pot: dict[str, Any], records: list[dict[str, Any]], sentence: str) -> None:
    """One fault, one sentence."""
    (wrong,) = wrong_pots([BUDGET], [{**POT, **pot}], records)
    assert sentence in wrong
