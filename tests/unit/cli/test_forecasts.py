"""Forecasts as people see them: by when, at which pace, and nothing where there is none."""

import pytest
from google.protobuf.timestamp_pb2 import Timestamp
from rich.console import Console
from rich.table import Table

from tallygate.cli.show_accounts import forecast_facts
from tallygate.cli.show_limits import budget_facts
from tallygate.control.v1.account_service_pb2 import ForecastAccountResponse
from tallygate.control.v1.budget_pb2 import BUDGET_UNIT_TOKENS, Budget, BudgetStanding

START, USED_UP, END = (Timestamp(seconds=1_793_491_200 + day * 86_400) for day in (0, 20, 30))
BUDGET = Budget(name="accounts/acme/budgets/daily", unit=BUDGET_UNIT_TOKENS, amount_units=100)


def text_of(table: Table) -> str:
    console = Console(width=200, color_system=None)
    with console.capture() as capture:
        console.print(table)
    return capture.get()


@pytest.mark.parametrize(
    ("standing", "said"),
    [
        (BudgetStanding(pace_start_time=START, used_up_time=USED_UP, period_end_time=END), "used up by 2026-11-21"),
        (BudgetStanding(pace_start_time=START, period_end_time=END), "lasts until it begins anew, at the pace since"),
        (BudgetStanding(pace_start_time=START), "lasts for ten years or more"),
        (BudgetStanding(period_end_time=END), None),
        (BudgetStanding(pace_start_time=START, spent_units=100), None),
    ],
)
def test_a_budget_says_how_long_it_lasts(standing: BudgetStanding, said: str | None) -> None:
    """Nothing where it has no pace, or is used up already."""
    standing.amount_units = 100
    text = text_of(budget_facts(BUDGET, standing, ""))
    assert ("forecast" in text) is (said is not None)
    assert (said or "") in text


@pytest.mark.parametrize(
    ("found", "said"),
    [
        (ForecastAccountResponse(left_nanos=5, spent_nanos=1, used_up_time=USED_UP), "used up by 2026-11-21"),
        (ForecastAccountResponse(left_nanos=-5, spent_nanos=1), "nothing is left"),
        (ForecastAccountResponse(left_nanos=5), "too little was spent to tell"),
    ],
)
def test_an_account_says_how_long_its_money_lasts(found: ForecastAccountResponse, said: str) -> None:
    """Or why nobody can tell."""
    found.pace_start_time.CopyFrom(START)
    assert said in text_of(forecast_facts(found, "accounts/acme", "USD"))
