"""Reservations of gateways before real services: never more than there is, and on record whoever goes down."""

from __future__ import annotations

import asyncio

import grpc
import pytest

from tallygate.client import MeteringClient
from tallygate.control.v1 import account_service_pb2, lifecycle_service_pb2
from tallygate.integrations.ratelimit import rate_limit_pb2 as wire
from tallygate.metering.v1 import request_usage_pb2, usage_service_pb2, usage_service_pb2_grpc
from tests.harness.asgi.engine_harness import SERVICE, people
from tests.harness.client.patient import PATIENT
from tests.harness.patience import until, until_found
from tests.harness.programs.programs import Pair
from tests.harness.wire.rate_limits import Gateway, gateway

FEW = "accounts/few/services/default-llama"
BALANCE_NANOS = 20_000_000
"""0.02 USD: at 2 USD per million tokens, 10,000 tokens of output."""
EACH = 2_000
FINISHED = request_usage_pb2.SETTLEMENT_STATE_FINISHED


@pytest.fixture
async def running(pair: Pair) -> Pair:
    """A service with plenty of money, and one with little."""
    async with people(pair) as hands:
        await hands.prepare()
        await hands.accounts.CreateAccount(account_service_pb2.CreateAccountRequest(name="accounts/few"))
        money = account_service_pb2.TopUpAccountRequest(name="accounts/few", amount_nanos=BALANCE_NANOS)
        await hands.accounts.TopUpAccount(money)
        await hands.lifecycle.EnablePostpaid(lifecycle_service_pb2.EnablePostpaidRequest(name=FEW))
    async with MeteringClient(pair.metering.address, settings=PATIENT) as client, gateway(client, ids="try") as edge:
        await until_found(lambda: holds(edge, SERVICE, 1))
        await until_found(lambda: holds(edge, FEW, 1))
    return pair


async def holds(edge: Gateway, service: str, tokens: int) -> bool:
    """Whether a service runs, and so many tokens can be held of it; nothing is used of them."""
    held = await edge.reserve({"service": service}, tokens)
    if held.code == wire.OK:
        await edge.commit({"service": service}, held.reservation_id, 0)
    return held.code == wire.OK


async def reserved(
    edge: Gateway, service: dict[str, str], tokens: int, ttl_s: float | None = None
) -> wire.ReserveResponse:
    """A reservation, as soon as it is not refused for now."""
    found: list[wire.ReserveResponse] = []

    async def is_held() -> bool:
        found[:] = [await edge.reserve(service, tokens, ttl_s)]
        return found[0].code == wire.OK

    await until_found(is_held)
    return found[0]


async def passes(edge: Gateway, request: dict[str, str]) -> bool:
    """Whether a request is let through."""
    return (await edge.ask(request)).overall_code == wire.OK


async def is_refused(edge: Gateway, request: dict[str, str], reason: str) -> bool:
    """Whether a request is refused for this reason; it is never let through."""
    answer = await edge.ask(request)
    assert answer.overall_code == wire.OVER_LIMIT
    return answer.dynamic_metadata["reason"] == reason


async def reserve_all(edge: Gateway, service: dict[str, str], count: int) -> list[str]:
    """Ids of as many reservations as there is room for, of twenty that want one at once; there is room for no more.

    Where control is slow to answer, some are refused for now that will be held a moment later.
    """
    held: list[str] = []

    async def is_full() -> bool:
        answers = await asyncio.gather(*(edge.reserve(service, EACH) for _ in range(20)))
        held.extend(answer.reservation_id for answer in answers if answer.code == wire.OK)
        return len(held) >= count

    await until_found(is_full)
    assert (await edge.reserve(service, EACH)).code == wire.OVER_LIMIT
    assert len(held) == count
    return held


async def outputs(pair: Pair, service: str) -> dict[str, int]:
    """Output tokens of the finished records of a service, without those of the trials."""
    page = usage_service_pb2.ListRequestUsageRequest(service=service, page_size=1_000)
    async with grpc.aio.insecure_channel(pair.metering.address) as channel:
        answer = await usage_service_pb2_grpc.UsageServiceStub(channel).ListRequestUsage(page)
    return {
        each.request_id: each.usage.output_tokens
        for each in answer.request_usages
        if each.state == FINISHED and not each.request_id.startswith("try")
    }


async def test_reservations_at_once_are_never_more_than_there_is(running: Pair) -> None:
    """Of twenty that want 2,000 tokens of 10,000, five are held; what they did not use lets others in.

    One of all 10,000 is held, and of one more none. What is used beyond what was held is recorded as well.
    """
    service = {"service": FEW}
    async with MeteringClient(running.metering.address, settings=PATIENT) as client, gateway(client) as edge:
        assert (await edge.reserve(service, 5 * EACH + 1)).code == wire.OVER_LIMIT
        await until_found(lambda: holds(edge, FEW, 5 * EACH))
        held = await reserve_all(edge, service, 5)
        committed = await asyncio.gather(*(edge.commit(service, each, 600) for each in held))
        assert all(answer.reservation_released for answer in committed)
        held = await reserve_all(edge, service, 3)
        for each in held:
            await edge.commit(service, each, EACH + 100)
    assert sum((await outputs(running, FEW)).values()) == 5 * 600 + 3 * (EACH + 100)


async def test_a_reservation_outlives_its_gateways_server(running: Pair) -> None:
    """Another process commits it; repeated, it is recorded once, and what was held besides is free again."""
    service = {"service": FEW}
    async with MeteringClient(running.metering.address, settings=PATIENT) as client, gateway(client) as edge:
        held = await reserved(edge, {**service, "request_id": "r1"}, 4 * EACH, 3_000)
    async with MeteringClient(running.metering.address, settings=PATIENT) as client, gateway(client) as edge:
        assert (await edge.reserve(service, 2 * EACH)).code == wire.OVER_LIMIT
        for _ in range(2):
            assert not (await edge.commit(service, held.reservation_id, 700)).reservation_released
        assert await outputs(running, FEW) == {"r1": 700}
        await until_found(lambda: holds(edge, FEW, 4 * EACH))


async def test_counts_outlive_a_restart_of_the_gateways_server(running: Pair) -> None:
    """The request that was let through before it is counted after it, once, however often that is said."""
    request = {"service": SERVICE, "request_id": "r1"}
    async with MeteringClient(running.metering.address, settings=PATIENT) as client, gateway(client) as edge:
        await until_found(lambda: passes(edge, request))
    async with MeteringClient(running.metering.address, settings=PATIENT) as client, gateway(client) as edge:
        for _ in range(3):
            assert (await edge.ask(request, 90)).overall_code == wire.OK
    assert await outputs(running, SERVICE) == {"r1": 90}


async def test_an_id_that_was_counted_opens_no_other_request(running: Pair) -> None:
    """A gateway that lets end users choose ids would otherwise let them run many requests for one."""
    request = {"service": SERVICE, "request_id": "r1"}
    async with MeteringClient(running.metering.address, settings=PATIENT) as client, gateway(client) as edge:
        await until_found(lambda: passes(edge, request))
        await edge.ask(request, 5)
        await until_found(lambda: is_refused(edge, request, "REQUEST_ID_REUSED"))


async def test_what_is_said_after_its_time_is_recorded(running: Pair) -> None:
    """More than was recorded without it, and less, too."""
    gate, later = ({"service": SERVICE, "request_id": name} for name in ("r1", "r2"))
    async with MeteringClient(running.metering.address, settings=PATIENT) as client, gateway(client) as edge:
        await until_found(lambda: passes(edge, gate))
        held = await reserved(edge, later, EACH)
        edge.alarms.ring()
        await until(lambda: not client.open_requests)
        assert await outputs(running, SERVICE) == {"r1": 0, "r2": EACH}
        assert (await edge.ask(gate, 90)).overall_code == wire.OK
        assert not (await edge.commit(later, held.reservation_id, 30)).reservation_released
    assert await outputs(running, SERVICE) == {"r1": 90, "r2": 30}
