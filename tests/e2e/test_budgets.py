"""Budgets of an owner on running programs: made at control, enforced by a node within half a second, settled."""

import asyncio
import itertools

import grpc

from tallygate.control.v1 import (
    budget_pb2,
    limit_service_pb2,
    limit_service_pb2_grpc,
    operations_service_pb2,
    operations_service_pb2_grpc,
    pot_pb2,
)
from tallygate.metering.v1 import (
    decision_pb2,
    metering_service_pb2,
    metering_service_pb2_grpc,
    report_pb2,
    token_usage_pb2,
)
from tests.harness.patience import PATIENCE_S, until_found
from tests.harness.programs.one_service import BOTH, SERVICE, enable, meter_one
from tests.harness.programs.programs import Pair
from tests.harness.programs.requests import answered

NAME = "accounts/acme/budgets/daily"
TOKENS_OF_ONE = 100


async def set_budget(pair: Pair, amount: int, *, is_new: bool) -> None:
    """A budget of tokens a day, or another amount of it."""
    async with grpc.aio.insecure_channel(pair.control.address) as channel:
        stub = limit_service_pb2_grpc.LimitServiceStub(channel)
        if is_new:
            request = limit_service_pb2.CreateBudgetRequest(
                name=NAME,
                unit=budget_pb2.BUDGET_UNIT_TOKENS,
                amount_units=amount,
                period=budget_pb2.CALENDAR_PERIOD_DAY,
            )
            await stub.CreateBudget(request)
        else:
            await stub.UpdateBudget(limit_service_pb2.UpdateBudgetRequest(name=NAME, amount_units=amount))


async def decision(pair: Pair, request_id: str) -> decision_pb2.Decision:
    """What becomes of a request; one that is allowed ends at once."""
    usage = token_usage_pb2.TokenUsage(input_tokens=TOKENS_OF_ONE)
    report = report_pb2.TokenReport(
        request_id=request_id,
        service=SERVICE,
        phase=report_pb2.REPORT_PHASE_AUTHORIZE,
        usage=usage,
        max_output_tokens=0,
    )
    async with grpc.aio.insecure_channel(pair.metering.address) as channel:
        stub = metering_service_pb2_grpc.MeteringServiceStub(channel)
        answer = await answered(lambda: stub.Authorize(metering_service_pb2.AuthorizeRequest(report=report)))
        if answer.decision.verdict == decision_pb2.VERDICT_ALLOW:
            report.phase = report_pb2.REPORT_PHASE_FINISH
            await answered(lambda: stub.Report(metering_service_pb2.ReportRequest(report=report)))
    return answer.decision


async def has_spent(pair: Pair, tokens: int) -> bool:
    """Whether the budget's pot has so much spent by what control knows, and nothing on lease any more."""
    async with grpc.aio.insecure_channel(pair.control.address) as channel:
        stub = operations_service_pb2_grpc.OperationsServiceStub(channel)
        pots = (await stub.ListPots(operations_service_pb2.ListPotsRequest(account="accounts/acme"))).pots
    found = [pot for pot in pots if pot.kind == pot_pb2.POT_KIND_BUDGET_TOKENS]
    return [(pot.spent_units, pot.leased_units) for pot in found] == [(tokens, 0)]


@BOTH
async def test_a_budget_is_enforced_raised_and_settled(pair: Pair) -> None:
    """As many requests pass as it has room for; then a denial names it, and a raise lets the next one pass."""
    await enable(pair)
    await meter_one(pair.metering, "before")
    await set_budget(pair, 3 * TOKENS_OF_ONE, is_new=True)
    numbers, allowed = itertools.count(1), 0
    async with asyncio.timeout(PATIENCE_S):
        while (
            said := await decision(pair, f"r{next(numbers)}")
        ).reason != decision_pb2.DECISION_REASON_BUDGET_EXCEEDED:
            assert said.verdict == decision_pb2.VERDICT_ALLOW or said.retryable, said
            allowed += said.verdict == decision_pb2.VERDICT_ALLOW
    assert (said.budget.budget, said.budget.place, said.budget.amount_units) == (NAME, "accounts/acme", 300)
    assert (said.budget.HasField("end_time"), said.retryable) == (True, False)
    # Some may have passed before the node heard of the budget.
    assert allowed >= 3
    await until_found(lambda: has_spent(pair, 3 * TOKENS_OF_ONE))
    await set_budget(pair, 4 * TOKENS_OF_ONE, is_new=False)
    async with asyncio.timeout(PATIENCE_S):
        while (await decision(pair, f"r{next(numbers)}")).verdict != decision_pb2.VERDICT_ALLOW:
            pass
    await until_found(lambda: has_spent(pair, 4 * TOKENS_OF_ONE))
