"""Answers that cannot be stopped, at two nodes of a real fleet: no more pass than the account can pay."""

import asyncio
from collections.abc import Sequence
from contextlib import AsyncExitStack

import grpc
import pytest

from tallygate.client import Denied, MeteredRequest, MeteringClient, Usage
from tallygate.control.v1 import (
    account_service_pb2,
    account_service_pb2_grpc,
    catalog_service_pb2,
    catalog_service_pb2_grpc,
    lifecycle_service_pb2,
    lifecycle_service_pb2_grpc,
)
from tests.harness.client.patient import PATIENT
from tests.harness.patience import PATIENCE_S, until_found
from tests.harness.programs.one_service import assert_balance
from tests.harness.programs.programs import Pair

SERVICE = "accounts/acme/services/default-llama"
MODEL = "models/llama"
LIMIT = 4_000
BALANCE_NANOS = 20_000_000
FUNDED = 2
HOLD_S = PATIENCE_S
"""Time for which an answer is held: longer than the others are asked for."""


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


async def whole(client: MeteringClient) -> MeteredRequest | Denied:
    """An answer of full length that may begin, or why it may not for now."""
    request = client.request(SERVICE, input_tokens=9, max_output_tokens=LIMIT, whole=True, hold_for_s=HOLD_S)
    try:
        await request.authorize()
    except Denied as denied:
        if not denied.retryable or not denied.retry_after_ms:
            raise
        return denied
    assert request.grant is not None
    assert (request.grant.output_ceiling_tokens, request.grant.is_final) == (LIMIT, True)
    return request


async def all_there_is_room_for(clients: Sequence[MeteringClient]) -> list[MeteredRequest]:
    """Those that may begin of twenty at once, which all try again until two may: where control is slow, fewer may."""
    running: list[MeteredRequest] = []

    async def two_run() -> bool:
        told = await asyncio.gather(*(whole(clients[number % len(clients)]) for number in range(20)))
        running.extend(one for one in told if isinstance(one, MeteredRequest))
        return len(running) >= FUNDED

    await until_found(two_run)
    return running


@pytest.mark.parametrize("pair", ["sqlite", "postgresql"], indirect=True)
@pytest.mark.parametrize("nodes", [1, 2])
async def test_twenty_at_once_of_which_two_are_funded(pair: Pair, nodes: int) -> None:
    """Two pass, the others may try again; the balance is what these two cost less, and never below zero."""
    async with AsyncExitStack() as stack:
        await enable(await stack.enter_async_context(grpc.aio.insecure_channel(pair.control.address)))
        serving = [pair.metering, *[await pair.start_node(f"node-{number}") for number in range(2, nodes + 1)]]
        clients = [await stack.enter_async_context(MeteringClient(node.address, settings=PATIENT)) for node in serving]
        running = await all_there_is_room_for(clients)
        again = await asyncio.gather(*(whole(clients[number % nodes]) for number in range(20)))
        assert len(running) == FUNDED
        assert all(isinstance(one, Denied) for one in again)
        for request in running:
            request.finish(Usage(input_tokens=9, output_tokens=LIMIT))
            receipt = await request.wait_recorded()
            assert receipt is not None
            assert (receipt.overrun_tokens, receipt.debt_nanos, receipt.unfunded.total_tokens) == (0, 0, 0)
    for node in serving:
        await node.stop()
    await assert_balance(pair, BALANCE_NANOS - FUNDED * (9 * 1_000 + LIMIT * 2_000))
