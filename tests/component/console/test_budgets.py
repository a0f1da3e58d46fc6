"""Budgets and rate rules: what stands on their pages is what the service says, and forms change it."""

import re
from datetime import UTC, datetime
from pathlib import Path

import pytest

from tallygate.control.v1 import limit_config_pb2, limit_service_pb2, rate_rule_pb2
from tests.harness.console.console_harness import Stage, add_row

BUDGETS = "/accounts/acme/budgets"
BUDGET = f"{BUDGETS}/month"
CREATE = "/accounts/acme/create-budget"
RULES = "/accounts/acme/rate-rules"
RULE = f"{RULES}/rpm"
CREATE_RULE = "/accounts/acme/create-rate-rule"
MONTHLY = {"name": "month", "unit": "MONEY", "amount_units": "250.000000001", "period": "MONTH"}


async def budget_of(stage: Stage) -> limit_service_pb2.GetBudgetResponse:
    request = limit_service_pb2.GetBudgetRequest(name="accounts/acme/budgets/month")
    return await stage.control.limits.GetBudget(request)


async def rule_of(stage: Stage) -> rate_rule_pb2.RateRule:
    request = limit_service_pb2.GetRateRuleRequest(name="accounts/acme/rateRules/rpm")
    return (await stage.control.limits.GetRateRule(request)).rate_rule


async def test_a_budget_of_money_is_exact(stage: Stage) -> None:
    """To the nano, from the form to the service and back onto the page."""
    browser = await stage.signed_in()
    done = await browser.submit(
        CREATE,
        **MONTHLY,
        place="services/default-llama",
        threshold_percents="80, 100",
        initial_spent_units="50.5",
        time_zone="Europe/Berlin",
        member="SHARED",
    )
    assert done.headers["location"] == BUDGET, done.text
    found = await budget_of(stage)
    assert found.budget.amount_units == 250_000_000_001
    assert found.budget.place == "accounts/acme/services/default-llama"
    assert list(found.budget.threshold_percents) == [80, 100]
    assert found.standing.spent_units == 50_500_000_000
    for path in (BUDGET, BUDGETS):
        page = await browser.get(path)
        values = re.findall(r'<data class="amount" value="(\d+)"', page.text)
        assert values[:3] == ["50500000000", "250000000001", "199500000001"], path
    assert "Service <code>default-llama</code>" in (await browser.get(BUDGETS)).text


async def test_a_tree_has_the_account_first(stage: Stage) -> None:
    """Then what lies in it."""
    browser = await stage.signed_in()
    await browser.submit(CREATE, **{**MONTHLY, "name": "a"}, place="services/default-llama")
    await browser.submit(CREATE, **{**MONTHLY, "name": "b"})
    page = await browser.get(BUDGETS)
    assert re.findall(r"<h2>(\w+) <code>", page.text) == ["Account", "Service"]


async def test_a_budget_that_is_spent_already_says_so(stage: Stage) -> None:
    """In the words of what was done, and on its page."""
    browser = await stage.signed_in()
    await browser.submit(CREATE, **{**MONTHLY, "unit": "TOKENS", "amount_units": "0"})
    page = await browser.get(BUDGET)
    assert "It stops requests already." in page.text
    assert "Stops requests" in page.text


async def test_a_budget_is_changed_raised_and_deleted(stage: Stage) -> None:
    """A raise that is left empty ends."""
    browser = await stage.signed_in()
    await browser.submit(CREATE, **MONTHLY)
    page = await browser.get(f"{BUDGET}/edit")
    assert 'value="250.000000001"' in page.text
    raised = {"temporary_raise.amount_units": "300", "temporary_raise.end_time": "2023-12-01T00:00"}
    done = await browser.send(f"{BUDGET}/edit", page, amount_units="200", soft="yes", **raised)
    assert done.headers["location"] == BUDGET, done.text
    found = await budget_of(stage)
    assert (found.budget.amount_units, found.budget.soft) == (200_000_000_000, True)
    assert found.standing.amount_units == 300_000_000_000
    await browser.submit(f"{BUDGET}/edit", amount_units="200")
    found = await budget_of(stage)
    assert (found.budget.HasField("temporary_raise"), found.budget.soft) == (False, False)
    page = await browser.get(f"{BUDGET}/edit")
    await browser.submit(f"{BUDGET}/edit", amount_units="90", **raised)
    for _ in range(2):
        assert (await browser.send(f"{BUDGET}/edit", page, amount_units="200.00", soft="yes")).status_code == 303
    found = await budget_of(stage)
    assert (found.budget.amount_units, found.budget.soft) == (90_000_000_000, True)
    assert found.standing.amount_units == 300_000_000_000
    assert (await browser.submit(f"{BUDGET}/delete")).headers["location"] == BUDGETS
    assert (await budget_of(stage)).budget.HasField("delete_time")


@pytest.mark.parametrize(
    ("field", "typed"),
    [
        ("amount_units", "lots"),
        ("threshold_percents", "80 percent"),
        ("time_zone", "Nowhere/None"),
        ("place", "services/"),
        ("name", "A!"),
    ],
)
async def test_a_refusal_keeps_what_was_typed(stage: Stage, field: str, typed: str) -> None:
    """Beside its field; what was chosen stays chosen."""
    browser = await stage.signed_in()
    refused = await browser.submit(CREATE, **{**MONTHLY, "period": "WEEK", field: typed})
    assert refused.status_code == 400
    assert f'id="{field}-said" class="hint"><span class="error">' in refused.text
    assert f'value="{typed}"' in refused.text
    assert '<option value="WEEK" selected>' in refused.text


async def test_a_rule_is_created_changed_and_deleted(stage: Stage) -> None:
    """What is on the page is what the service keeps."""
    browser = await stage.signed_in()
    done = await browser.submit(
        CREATE_RULE, name="rpm", metric="REQUESTS", limit_units="6,000", period="60", model="llama", dry_run="yes"
    )
    assert done.headers["location"] == RULES, done.text
    rule = await rule_of(stage)
    assert (rule.limit_units, rule.period.seconds, rule.model, rule.dry_run) == (6_000, 60, "models/llama", True)
    page = await browser.get(RULES)
    assert "6,000" in page.text
    assert "counts only" in page.text
    await browser.submit(f"{RULE}/edit", limit_units="12000", period="60", burst_units=str(rule.burst_units))
    assert (await rule_of(stage)).burst_units == 12_000
    await browser.submit(f"{RULE}/edit", limit_units="7000", period="3600", burst_units="70")
    rule = await rule_of(stage)
    assert (rule.limit_units, rule.period.seconds, rule.burst_units, rule.dry_run) == (7_000, 3_600, 70, False)
    page = await browser.get(f"{RULE}/edit")
    await browser.submit(f"{RULE}/edit", limit_units="50", period="3600", burst_units="9")
    for _ in range(2):
        sent = await browser.send(
            f"{RULE}/edit", page, limit_units="7000", period="3600", burst_units="70", dry_run="yes"
        )
        assert sent.status_code == 303
    rule = await rule_of(stage)
    assert (rule.limit_units, rule.burst_units, rule.dry_run) == (50, 9, True)
    await browser.submit(f"{RULE}/delete")
    assert "There is no rate rule yet" in (await browser.get(RULES)).text


async def test_a_rule_of_requests_at_once_has_no_period(stage: Stage) -> None:
    """Neither on the form, nor in what is sent."""
    browser = await stage.signed_in()
    await browser.submit(CREATE_RULE, name="rpm", metric="CONCURRENT_REQUESTS", limit_units="5")
    assert 'name="period"' not in (await browser.get(f"{RULE}/edit")).text
    assert (await browser.submit(f"{RULE}/edit", limit_units="6")).status_code == 303
    rule = await rule_of(stage)
    assert rule.metric == limit_config_pb2.RATE_METRIC_CONCURRENT_REQUESTS
    assert rule.limit_units == 6


async def test_a_budget_says_how_long_it_lasts(stage: Stage, tmp_path: Path) -> None:
    """At the pace since its period began or it was made; without a pace nothing is said."""
    browser = await stage.signed_in()
    await browser.submit(CREATE, **{**MONTHLY, "period": "IN_ALL", "unit": "TOKENS", "amount_units": "1000"})
    stage.clock.advance(10 * 86_400)
    browser = await stage.signed_in()
    assert "At the pace" not in (await browser.get(BUDGET)).text
    await add_row(
        tmp_path,
        "limit_pots",
        account_id="acme",
        limit_uid=(await budget_of(stage)).budget.uid,
        member_uid="",
        period_start_us=0,
        kind="BUDGET_TOKENS",
        capacity_units=1_000,
        leased_units=0,
        spent_units=500,
        told_percent=0,
    )
    used_up = (await budget_of(stage)).standing.used_up_time.ToDatetime()
    assert used_up == datetime.fromtimestamp(stage.clock.now_us() / 10**6 + 10 * 86_400, UTC).replace(tzinfo=None)
    for path in (BUDGET, BUDGETS):
        text = (await browser.get(path)).text
        assert f'used up by <time datetime="{used_up:%Y-%m-%dT%H:%M:%S}' in text
