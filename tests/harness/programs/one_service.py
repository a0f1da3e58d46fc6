"""One service of one account on running programs: enabled, metered, and what was booked of it."""

import asyncio
from collections.abc import Sequence

import grpc
import pytest

from tallygate._channel import open_aio_channel
from tallygate._security import PLAIN, Security
from tallygate.control.v1 import (
    account_pb2,
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
    request_usage_pb2,
    token_usage_pb2,
    usage_service_pb2,
    usage_service_pb2_grpc,
)
from tests.harness.patience import PATIENCE_S, until_found
from tests.harness.programs.programs import Pair, Program
from tests.harness.programs.requests import answered, decided

SERVICE = "accounts/acme/services/default-llama"
BOTH = pytest.mark.parametrize("pair", ["sqlite", "postgresql"], indirect=True)


async def enable(pair: Pair) -> None:
    """An account with money, a model with a price, pay-as-you-go enabled."""
    await enable_at(pair.control.address)


async def enable_at(address: str, security: Security = PLAIN) -> None:
    """The same, at this control service."""
    async with open_aio_channel(address, security) as channel:
        accounts = account_service_pb2_grpc.AccountServiceStub(channel)
        await accounts.CreateAccount(account_service_pb2.CreateAccountRequest(name="accounts/acme"))
        await accounts.TopUpAccount(
            account_service_pb2.TopUpAccountRequest(name="accounts/acme", amount_nanos=5_000_000_000)
        )
        catalog = catalog_service_pb2_grpc.CatalogServiceStub(channel)
        await catalog.CreateModel(catalog_service_pb2.CreateModelRequest(name="models/llama"))
        price = catalog_service_pb2.PublishPriceRequest(
            model="models/llama",
            input_nanos_per_million_tokens=1_000_000_000,
            output_nanos_per_million_tokens=2_000_000_000,
        )
        await catalog.PublishPrice(price)
        lifecycle = lifecycle_service_pb2_grpc.LifecycleServiceStub(channel)
        await lifecycle.EnablePostpaid(lifecycle_service_pb2.EnablePostpaidRequest(name=SERVICE))


async def meter_one(node: Program, request_id: str) -> int:
    """Authorise a request as soon as the node allows it, finish it; its cost in nanos."""
    usage = token_usage_pb2.TokenUsage(input_tokens=100)
    report = report_pb2.TokenReport(
        request_id=request_id, service=SERVICE, phase=report_pb2.REPORT_PHASE_AUTHORIZE, usage=usage
    )
    async with grpc.aio.insecure_channel(node.address) as channel, asyncio.timeout(PATIENCE_S):
        await allowed(channel, report)
        report.phase = report_pb2.REPORT_PHASE_FINISH
        said = metering_service_pb2.ReportRequest(report=report)
        answer = await answered(lambda: metering_service_pb2_grpc.MeteringServiceStub(channel).Report(said))
    cost_nanos: int = answer.decision.receipt.cost_nanos
    return cost_nanos


async def allowed(channel: grpc.aio.Channel, report: report_pb2.TokenReport) -> None:
    """Authorise a request as soon as the node allows it."""
    stub = metering_service_pb2_grpc.MeteringServiceStub(channel)

    async def ask() -> decision_pb2.Decision:
        decision: decision_pb2.Decision = (
            await stub.Authorize(metering_service_pb2.AuthorizeRequest(report=report))
        ).decision
        return decision

    decision = await decided(ask)
    assert decision.verdict == decision_pb2.VERDICT_ALLOW, decision


async def account(pair: Pair) -> account_pb2.Account:
    """The account as control has it."""
    async with grpc.aio.insecure_channel(pair.control.address) as channel:
        stub = account_service_pb2_grpc.AccountServiceStub(channel)
        return (await stub.GetAccount(account_service_pb2.GetAccountRequest(name="accounts/acme"))).account


async def balance_nanos(pair: Pair) -> int:
    """What the account has left, in nanos."""
    return (await account(pair)).balance_nanos


async def assert_balance(pair: Pair, nanos: int) -> None:
    """The account has so much left, to the nano, now that nodes have stopped.

    One that control was too slow for has said that it left something behind: its next life settles that.
    """
    behind = [name for name, program in pair.programs.items() if program.has_left_behind()]
    for name in behind:
        await pair.start_node(name)

    async def is_settled() -> bool:
        return await balance_nanos(pair) == nanos

    if behind:
        await until_found(is_settled)
    assert await balance_nanos(pair) == nanos


async def recorded(node: Program, request_id: str) -> Sequence[request_usage_pb2.RequestUsage]:
    """The parts of a request that are on record."""
    async with grpc.aio.insecure_channel(node.address) as channel:
        request = usage_service_pb2.GetRequestUsageRequest(service=SERVICE, request_id=request_id)
        return (await usage_service_pb2_grpc.UsageServiceStub(channel).GetRequestUsage(request)).parts
