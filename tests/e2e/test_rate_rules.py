"""Rate rules of an owner on running programs: one of each metric, made at control and enforced by a node."""

import asyncio
import itertools

import grpc
import pytest
from google.protobuf.duration_pb2 import Duration

from tallygate.control.v1 import limit_config_pb2, limit_service_pb2, limit_service_pb2_grpc
from tallygate.metering.v1 import (
    decision_pb2,
    metering_service_pb2,
    metering_service_pb2_grpc,
    report_pb2,
    token_usage_pb2,
)
from tests.harness.patience import PATIENCE_S
from tests.harness.programs.one_service import SERVICE, enable
from tests.harness.programs.programs import Pair
from tests.harness.programs.requests import answered

NAME = "accounts/acme/rateRules/one"
INPUT_TOKENS, OUTPUT_TOKENS = 100, 100
DAY_S = 86_400


async def make_rule(pair: Pair, metric: str, limit: int) -> None:
    """A rule of the account, of a day: nothing to speak of accrues while the test runs."""
    is_rate = metric != "CONCURRENT_REQUESTS"
    request = limit_service_pb2.CreateRateRuleRequest(
        name=NAME,
        metric=limit_config_pb2.RateMetric.Value(f"RATE_METRIC_{metric}"),
        limit_units=limit,
        period=Duration(seconds=DAY_S) if is_rate else None,
        burst_units=limit if is_rate else 0,
    )
    async with grpc.aio.insecure_channel(pair.control.address) as channel:
        await limit_service_pb2_grpc.LimitServiceStub(channel).CreateRateRule(request)


async def ask(pair: Pair, request_id: str) -> decision_pb2.Decision:
    """What becomes of a request whose answer comes as a whole, and which stays open if it is allowed."""
    report = report_pb2.TokenReport(
        request_id=request_id,
        service=SERVICE,
        phase=report_pb2.REPORT_PHASE_AUTHORIZE,
        usage=token_usage_pb2.TokenUsage(input_tokens=INPUT_TOKENS),
        max_output_tokens=OUTPUT_TOKENS,
        whole=True,
    )
    async with grpc.aio.insecure_channel(pair.metering.address) as channel:
        stub = metering_service_pb2_grpc.MeteringServiceStub(channel)
        authorize = metering_service_pb2.AuthorizeRequest(report=report)
        return (await answered(lambda: stub.Authorize(authorize))).decision


@pytest.mark.parametrize(
    ("metric", "limit", "reason"),
    [
        ("REQUESTS", 3, decision_pb2.DECISION_REASON_REQUEST_RATE),
        ("INPUT_TOKENS", 3 * INPUT_TOKENS, decision_pb2.DECISION_REASON_TOKEN_RATE),
        ("OUTPUT_TOKENS", 3 * OUTPUT_TOKENS, decision_pb2.DECISION_REASON_TOKEN_RATE),
        ("TOTAL_TOKENS", 3 * (INPUT_TOKENS + OUTPUT_TOKENS), decision_pb2.DECISION_REASON_TOKEN_RATE),
        ("CONCURRENT_REQUESTS", 3, decision_pb2.DECISION_REASON_CONCURRENCY),
    ],
)
async def test_a_rule_is_enforced(
    pair: Pair, metric: str, limit: int, reason: decision_pb2.DecisionReason.ValueType
) -> None:
    """As many pass as fit; then a denial names the rule, its place and when to try again."""
    await enable(pair)
    await make_rule(pair, metric, limit)
    numbers, allowed = itertools.count(1), 0
    async with asyncio.timeout(PATIENCE_S):
        # Where control is slow, what is left may not have come to the node yet.
        while (said := await ask(pair, f"r{next(numbers)}")).reason != reason or said.rate.remaining_units:
            assert said.verdict == decision_pb2.VERDICT_ALLOW or said.retryable, said
            allowed += said.verdict == decision_pb2.VERDICT_ALLOW
    # Some may have passed before the node heard of the rule.
    assert allowed >= 3
    assert (said.rate.rate_rule, said.rate.place, said.rate.metric) == (NAME, "accounts/acme", metric)
    assert (said.rate.limit_units, said.rate.remaining_units, said.retryable) == (limit, 0, True)
    assert said.retry_after.seconds + said.retry_after.nanos > 0
