"""Limits that hang on the service that is measured, and refuse nothing."""

from typing import Final

from benchmarks.accounts import ACCOUNT, SERVICE
from tallygate._channel import open_aio_channel
from tallygate.control.v1 import budget_pb2, limit_config_pb2, limit_service_pb2, limit_service_pb2_grpc

PLACES: Final = (ACCOUNT, SERVICE)
METRICS: Final = (
    limit_config_pb2.RATE_METRIC_REQUESTS,
    limit_config_pb2.RATE_METRIC_INPUT_TOKENS,
    limit_config_pb2.RATE_METRIC_OUTPUT_TOKENS,
    limit_config_pb2.RATE_METRIC_TOTAL_TOKENS,
    limit_config_pb2.RATE_METRIC_CONCURRENT_REQUESTS,
)
UNITS: Final = (budget_pb2.BUDGET_UNIT_TOKENS, budget_pb2.BUDGET_UNIT_TOKENS, budget_pb2.BUDGET_UNIT_MONEY)
RULES, BUDGETS = len(PLACES) * len(METRICS), len(UNITS)
PLENTY_UNITS: Final = 10**11
PLENTY_NANOS: Final = 10**15


async def limit_in_every_way(control: str) -> None:
    """A rule of each metric on the account and on the service, and budgets of both: plenty of everything."""
    async with open_aio_channel(control) as channel:
        limits = limit_service_pb2_grpc.LimitServiceStub(channel)
        for number, place in enumerate(PLACES):
            for metric in METRICS:
                is_rate = metric != limit_config_pb2.RATE_METRIC_CONCURRENT_REQUESTS
                rule = limit_service_pb2.CreateRateRuleRequest(
                    name=f"{ACCOUNT}/rateRules/rule-{number}-{metric}",
                    place=place,
                    metric=metric,
                    limit_units=PLENTY_UNITS,
                    burst_units=PLENTY_UNITS if is_rate else 0,
                )
                await limits.CreateRateRule(rule)
        for number, unit in enumerate(UNITS):
            budget = limit_service_pb2.CreateBudgetRequest(
                name=f"{ACCOUNT}/budgets/budget-{number}",
                place=PLACES[number % len(PLACES)],
                unit=unit,
                amount_units=PLENTY_NANOS,
                period=budget_pb2.CALENDAR_PERIOD_DAY,
            )
            await limits.CreateBudget(budget)
