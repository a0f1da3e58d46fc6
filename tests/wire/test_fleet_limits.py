"""Limits on the wire: what people set by LimitService, and how soon nodes have it."""

from collections.abc import AsyncIterator
from pathlib import Path

import grpc
import pytest

from tallygate._wire.failures import decode_failure
from tallygate.control.v1 import budget_pb2, limit_config_pb2, limit_service_pb2, pot_pb2
from tests.harness.wire.control_fleet import SERVICE, Control, running_control, wire_node

ACCOUNT, MODEL = "accounts/acme", "models/llama"
RULE, BUDGET = f"{ACCOUNT}/rateRules/steady", f"{ACCOUNT}/budgets/daily"


@pytest.fixture
async def control(tmp_path: Path) -> AsyncIterator[Control]:
    """A control service with an account and a model."""
    async with running_control(tmp_path) as control:
        await control.stock()
        yield control


async def make_rule(control: Control, name: str = RULE, **settings: object) -> None:
    request = limit_service_pb2.CreateRateRuleRequest(
        name=name, metric=limit_config_pb2.RATE_METRIC_REQUESTS, limit_units=60, idempotency_key="make"
    )
    request.MergeFrom(limit_service_pb2.CreateRateRuleRequest(**settings))  # type: ignore[arg-type]  # fields of it
    await control.limits.CreateRateRule(request)


async def make_budget(control: Control, amount_units: int) -> limit_service_pb2.CreateBudgetResponse:
    request = limit_service_pb2.CreateBudgetRequest(
        name=BUDGET,
        unit=budget_pb2.BUDGET_UNIT_TOKENS,
        amount_units=amount_units,
        period=budget_pb2.CALENDAR_PERIOD_DAY,
        time_zone="Europe/Berlin",
        initial_spent_units=600,
        idempotency_key="make",
    )
    return await control.limits.CreateBudget(request)


async def test_limits_are_there_with_the_first_service(control: Control) -> None:
    """Of the account and of the model; a repeated call makes no second limit."""
    for _ in range(2):
        await make_rule(control)
        await make_rule(control, f"{MODEL}/rateRules/fair")
        await make_budget(control, 1_000)
    async with wire_node(control) as node:
        await node.subscribe(SERVICE)
        assert {limit.limit for limit in node.limits[ACCOUNT]} == {RULE, BUDGET}
        assert [limit.limit for limit in node.limits[MODEL]] == [f"{MODEL}/rateRules/fair"]
        (budget,) = (limit for limit in node.limits[ACCOUNT] if limit.limit == BUDGET)
        assert budget.pot_kind == pot_pb2.POT_KIND_BUDGET_TOKENS
        assert budget.periods[0].ends_after.seconds <= 25 * 3_600
        assert budget.periods[0].start_time.seconds % 3_600 == 0


async def test_a_change_reaches_a_node_that_is_connected(control: Control) -> None:
    """Made, changed, deleted; control looks for changes often enough to tell of them within half a second."""
    async with wire_node(control) as node:
        await node.subscribe(SERVICE)
        assert node.limits == {ACCOUNT: [], MODEL: []}
        await make_rule(control)
        await node.until(lambda: [limit.limit_units for limit in node.limits[ACCOUNT]] == [60])
        await control.limits.UpdateRateRule(limit_service_pb2.UpdateRateRuleRequest(name=RULE, limit_units=90))
        await node.until(lambda: [limit.limit_units for limit in node.limits[ACCOUNT]] == [90])
        await control.limits.DeleteRateRule(limit_service_pb2.DeleteRateRuleRequest(name=RULE))
        await node.until(lambda: node.limits[ACCOUNT] == [])


async def test_a_budget_below_what_is_spent_says_what_that_stops(control: Control) -> None:
    """In the answer to its creation, and in the one to its change."""
    assert (await make_budget(control, 500)).standing.stops_requests
    request = limit_service_pb2.UpdateBudgetRequest(name=BUDGET, amount_units=601)
    raised = await control.limits.UpdateBudget(request)
    assert (raised.standing.spent_units, raised.standing.stops_requests) == (600, False)
    shown = await control.limits.GetBudget(limit_service_pb2.GetBudgetRequest(name=BUDGET))
    assert shown == limit_service_pb2.GetBudgetResponse(budget=raised.budget, standing=raised.standing)


async def test_lists_have_what_hangs_on_a_place(control: Control) -> None:
    """Page by page; and a page token of one list is none of another's."""
    await control.create_service(f"{ACCOUNT}/services/chat")
    for number in range(3):
        await make_rule(control, f"{ACCOUNT}/rateRules/r{number}", idempotency_key=str(number))
    await make_rule(control, f"{ACCOUNT}/rateRules/s", place=f"{ACCOUNT}/services/chat", idempotency_key="s")
    request = limit_service_pb2.ListRateRulesRequest(account=ACCOUNT, page_size=3)
    first = await control.limits.ListRateRules(request)
    assert [rule.name[-2:] for rule in first.rate_rules] == ["r0", "r1", "r2"]
    request.page_token = first.next_page_token
    assert [rule.name[-2:] for rule in (await control.limits.ListRateRules(request)).rate_rules] == ["/s"]
    request = limit_service_pb2.ListRateRulesRequest(account=ACCOUNT, place=f"{ACCOUNT}/services/chat")
    assert [rule.name[-2:] for rule in (await control.limits.ListRateRules(request)).rate_rules] == ["/s"]
    request.page_token = first.next_page_token
    with pytest.raises(grpc.aio.AioRpcError) as refused:
        await control.limits.ListRateRules(request)
    assert refused.value.code() is grpc.StatusCode.INVALID_ARGUMENT


async def test_a_wrong_limit_is_refused_with_field_and_why(control: Control) -> None:
    """All wrong fields at once."""
    with pytest.raises(grpc.aio.AioRpcError) as refused:
        await make_rule(
            control, place="accounts/bolt", metric=limit_config_pb2.RATE_METRIC_CONCURRENT_REQUESTS, model="x/"
        )
    assert {path for path, _ in decode_failure(refused.value).violations} == {"place", "model"}
    with pytest.raises(grpc.aio.AioRpcError) as refused:
        request = limit_service_pb2.CreateBudgetRequest(
            name=BUDGET,
            unit=budget_pb2.BUDGET_UNIT_TOKENS,
            amount_units=-1,
            period=budget_pb2.CALENDAR_PERIOD_DAY,
            time_zone="Mars/Olympus",
        )
        await control.limits.CreateBudget(request)
    assert {path for path, _ in decode_failure(refused.value).violations} == {"amount_units", "time_zone"}
