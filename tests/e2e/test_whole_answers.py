"""Answers that cannot be stopped, at two nodes of a real fleet: no more pass than the account can pay."""

import asyncio
from collections import Counter

import grpc
import pytest

from tallygate.client import Denied, MeteringClient, Usage
from tallygate.control.v1 import (
    account_service_pb2,
    account_service_pb2_grpc,
    catalog_service_pb2,
    catalog_service_pb2_grpc,
    lifecycle_service_pb2,
    lifecycle_service_pb2_grpc,
)
from tests.harness.programs.programs import Pair, Program

SERVICE = "accounts/acme/services/default-llama"
MODEL = "models/llama"
LIMIT = 4_000
BALANCE_NANOS = 20_000_000


async def enable(channel: grpc.aio.Channel) -> None:
    """An account with two cents and no credit, and a model at 2 a million output tokens."""
    accounts = account_service_pb2_grpc.AccountServiceStub(channel)
    await accounts.CreateAccount(account_service_pb2.CreateAccountRequest(name="accounts/acme"))
    paid = account_service_pb2.TopUpAccountRequest(name="accounts/acme", amount_nanos=BALANCE_NANOS)
    await accounts.TopUpAccount(paid)
    catalog = catalog_service_pb2_grpc.CatalogServiceStub(channel)
    await catalog.CreateModel(catalog_service_pb2.CreateModelRequest(name=MODEL))
    await catalog.PublishPrice(
        catalog_service_pb2.PublishPriceRequest(
            model=MODEL, input_nanos_per_million_tokens=1_000_000_000, output_nanos_per_million_tokens=2_000_000_000
        )
    )
    lifecycle = lifecycle_service_pb2_grpc.LifecycleServiceStub(channel)
    await lifecycle.EnablePostpaid(lifecycle_service_pb2.EnablePostpaidRequest(name=SERVICE))


async def answer(node: Program, begun: asyncio.Barrier) -> str:
    """One whole answer of full length, which ends when all twenty have been decided on; why not, if it was denied."""
    async with MeteringClient(node.address) as client:
        request = client.request(SERVICE, input_tokens=9, max_output_tokens=LIMIT, whole=True, hold_for_s=60)
        try:
            await request.authorize()
        except Denied as denied:
            await begun.wait()
            return denied.reason if denied.retryable and denied.retry_after_ms else f"{denied.reason} for good"
        assert request.grant is not None
        assert (request.grant.output_ceiling_tokens, request.grant.is_final) == (LIMIT, True)
        await begun.wait()
        request.finish(Usage(input_tokens=9, output_tokens=LIMIT))
        receipt = await request.wait_recorded()
        assert receipt is not None
        assert (receipt.overrun_tokens, receipt.debt_nanos, receipt.unfunded.total_tokens) == (0, 0, 0)
        return "passed"


@pytest.mark.parametrize("pair", ["sqlite", "postgresql"], indirect=True)
@pytest.mark.parametrize("nodes", [1, 2])
async def test_twenty_at_once_of_which_two_are_funded(pair: Pair, nodes: int) -> None:
    """Two pass, the others may try again; the balance is what these two cost less, and never below zero."""
    async with grpc.aio.insecure_channel(pair.control.address) as channel:
        await enable(channel)
        serving = [pair.metering, *[await pair.start_node(f"node-{number}") for number in range(2, nodes + 1)]]
        begun = asyncio.Barrier(20)
        told = Counter(await asyncio.gather(*(answer(serving[number % nodes], begun) for number in range(20))))
        assert told == {"passed": 2, "BUDGET_CONTENDED": 18}
        for node in serving:
            await node.stop()
        accounts = account_service_pb2_grpc.AccountServiceStub(channel)
        account = (await accounts.GetAccount(account_service_pb2.GetAccountRequest(name="accounts/acme"))).account
        assert account.balance_nanos == BALANCE_NANOS - 2 * (9 * 1_000 + LIMIT * 2_000)
