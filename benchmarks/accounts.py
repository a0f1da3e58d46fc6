"""What the control service is told before a measurement, through its own API."""

import asyncio
import time
from collections.abc import Mapping
from typing import Final

from tallygate._channel import open_aio_channel
from tallygate._security import Security
from tallygate.control.v1 import (
    account_service_pb2,
    account_service_pb2_grpc,
    catalog_service_pb2,
    catalog_service_pb2_grpc,
    lifecycle_service_pb2,
    lifecycle_service_pb2_grpc,
)
from tallygate.metering.v1 import (
    decision_pb2,
    metering_service_pb2,
    metering_service_pb2_grpc,
    report_pb2,
    token_usage_pb2,
    usage_service_pb2,
    usage_service_pb2_grpc,
)

ACCOUNT = "accounts/bench"
MODEL = "models/llama"
DEFAULT_SERVICE = "default-llama"
SERVICE = f"{ACCOUNT}/services/{DEFAULT_SERVICE}"
MONEY_NANOS = 10**16
USAGE_RANGE_S = 86_400
METERED_WITHIN_S = 60.0
ONLY_REQUEST = "only"
"""Id of the request of `meter_once`."""
PLAIN: Final[Mapping[str, str]] = {}


async def set_up(control: str, security: Mapping[str, str] = PLAIN) -> None:
    """A model with a price, an account with more money than is ever spent, its default service on pay-as-you-go."""
    async with open_aio_channel(control, Security(**security)) as channel:
        accounts = account_service_pb2_grpc.AccountServiceStub(channel)
        catalog = catalog_service_pb2_grpc.CatalogServiceStub(channel)
        lifecycle = lifecycle_service_pb2_grpc.LifecycleServiceStub(channel)
        await catalog.CreateModel(catalog_service_pb2.CreateModelRequest(name=MODEL))
        price = catalog_service_pb2.PublishPriceRequest(
            model=MODEL,
            input_nanos_per_million_tokens=200_000_000,
            cached_input_nanos_per_million_tokens=50_000_000,
            output_nanos_per_million_tokens=600_000_000,
        )
        await catalog.PublishPrice(price)
        await _open_account(accounts, lifecycle, ACCOUNT)


async def open_accounts(control: str, count: int) -> list[str]:
    """So many accounts more like that of `set_up`; returns the names of their services."""
    async with open_aio_channel(control, Security()) as channel:
        accounts = account_service_pb2_grpc.AccountServiceStub(channel)
        lifecycle = lifecycle_service_pb2_grpc.LifecycleServiceStub(channel)
        return [await _open_account(accounts, lifecycle, f"{ACCOUNT}-{number}") for number in range(count)]


async def _open_account(
    accounts: "account_service_pb2_grpc.AccountServiceAsyncStub",
    lifecycle: "lifecycle_service_pb2_grpc.LifecycleServiceAsyncStub",
    name: str,
) -> str:
    service = f"{name}/services/{DEFAULT_SERVICE}"
    await accounts.CreateAccount(account_service_pb2.CreateAccountRequest(name=name))
    await accounts.TopUpAccount(account_service_pb2.TopUpAccountRequest(name=name, amount_nanos=MONEY_NANOS))
    await lifecycle.EnablePostpaid(lifecycle_service_pb2.EnablePostpaidRequest(name=service))
    return service


async def meter_once(metering: str) -> None:
    """One request, authorised and finished."""
    usage = token_usage_pb2.TokenUsage(input_tokens=100)
    authorize = report_pb2.REPORT_PHASE_AUTHORIZE
    report = report_pb2.TokenReport(request_id=ONLY_REQUEST, service=SERVICE, phase=authorize, usage=usage)
    async with open_aio_channel(metering, Security()) as channel, asyncio.timeout(METERED_WITHIN_S):
        stub = metering_service_pb2_grpc.MeteringServiceStub(channel)
        allowed = False
        while not allowed:
            answer = await stub.Authorize(metering_service_pb2.AuthorizeRequest(report=report))
            allowed = answer.decision.verdict == decision_pb2.VERDICT_ALLOW
        report.phase = report_pb2.REPORT_PHASE_FINISH
        await stub.Report(metering_service_pb2.ReportRequest(report=report))


async def booked(metering: str, security: Mapping[str, str] = PLAIN) -> tuple[int, int]:
    """Requests and tokens that are on record for the account, in all."""
    query = usage_service_pb2.QueryUsageRequest(services=[ACCOUNT])
    now_s = int(time.time())
    query.start_time.seconds = (now_s - USAGE_RANGE_S) // 60 * 60
    query.end_time.seconds = (now_s + 60) // 60 * 60
    async with open_aio_channel(metering, Security(**security)) as channel:
        answer = await usage_service_pb2_grpc.UsageServiceStub(channel).QueryUsage(query)
    requests = tokens = 0
    for bucket in answer.buckets:
        usage = bucket.usage
        requests += bucket.request_count
        tokens += usage.input_tokens + usage.cached_input_tokens + usage.cache_write_tokens
        tokens += usage.output_tokens + usage.reasoning_tokens
    return requests, tokens
