"""The client that says each step to a real node: what is recorded is what was counted, and columns carried it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack

import pytest

from metering_service.domain.records import RequestState
from metering_service.usecases.lookups.lookups import every
from tallygate.client import ClientSettings, MeteringClient, SyncMeteringClient
from tests.harness.metering.node_harness import Fleet
from tests.harness.metering.services import SERVICE, with_money
from tests.harness.patience import until
from tests.harness.wire.metering_node import NodeServing, serving_node
from tests.harness.wire.relay import Relay, relaying

SETTINGS = ClientSettings(answer_ms=60_000, receipt_ms=60_000, silence_ms=60_000, backoff_base_ms=1, backoff_cap_ms=5)
BEAT_S = 0.01
REQUESTS = 40
STEPS = 60
STEP_S = 0.002
BREAKS = 3
NUMBERS = range(REQUESTS)


@pytest.fixture
def fleet() -> Fleet:
    """One node; its service has plenty of money."""
    fleet = Fleet()
    with_money(fleet, 10_000_000)
    return fleet


@pytest.fixture
async def node(fleet: Fleet) -> AsyncIterator[NodeServing]:
    """It listens, and commits as time passes."""

    def beat() -> None:
        fleet.run(ms=20)

    async with serving_node(fleet["a"]) as serving:
        time = asyncio.create_task(every(BEAT_S, beat))
        yield serving
        time.cancel()


def step_tokens(number: int) -> int:
    """Tokens that a request generates at a step."""
    return 1 + number % 7


def all_recorded(fleet: Fleet) -> bool:
    """Whether every request is on record as it was counted, without overrun, and nothing is held for any."""
    found = {
        record.request_id: (record.counts.output_class, record.state, record.receipt.overrun_tokens)
        for record in fleet.database.requests.values()
    }
    held = sum(lease.held for lease in fleet["a"].node.services[SERVICE].leases.values())
    wanted = {f"r{number}": (STEPS * step_tokens(number), RequestState.FINISHED, 0) for number in NUMBERS}
    assert found == wanted
    return held == 0


async def _serve(metering: MeteringClient, number: int) -> None:
    tokens = step_tokens(number)
    async with metering.request(SERVICE, request_id=f"r{number}", input_tokens=10) as request:
        while missing := STEPS * tokens - request.usage.output_class_tokens:
            free = await request.wait_for_tokens()
            assert free, (request.denial, request.grant, request.usage)
            generated = min(free, missing, tokens)
            request.output(generated - generated // 2, reasoning=generated // 2)
            request.report()
            await asyncio.sleep(STEP_S)


async def _break(relay: Relay, metering: MeteringClient) -> None:
    """Once a few reports of each request have left."""
    said = metering.reports_sent
    await until(lambda: metering.reports_sent > said + 5 * REQUESTS or not metering.open_requests)
    breaks = metering.disconnects
    relay.cut()
    # It may be back before anybody looks.
    await until(lambda: metering.disconnects > breaks or not metering.connected_to)


@pytest.mark.parametrize("breaks", [0, BREAKS])
async def test_each_step_of_many_requests_is_on_record(fleet: Fleet, node: NodeServing, breaks: int) -> None:
    """Whatever was on its way when a connection broke, no request is cut short, and none goes too far."""
    async with AsyncExitStack() as stack:
        relay = await stack.enter_async_context(relaying(node.address))
        metering = await stack.enter_async_context(MeteringClient(relay.address, settings=SETTINGS))
        running = asyncio.gather(*(_serve(metering, number) for number in NUMBERS))
        for _ in range(breaks):
            await _break(relay, metering)
        await running
    assert all_recorded(fleet)


async def test_threads_say_each_step(fleet: Fleet, node: NodeServing) -> None:
    """Each counts its own request, and the client's thread sends for all."""

    def serve(metering: SyncMeteringClient, number: int) -> None:
        tokens = step_tokens(number)
        with metering.request(SERVICE, request_id=f"r{number}", input_tokens=10) as request:
            while missing := STEPS * tokens - request.usage.output_class_tokens:
                request.output(min(request.wait_for_tokens(), missing, tokens))
                request.report()

    client = SyncMeteringClient(node.address, settings=SETTINGS)
    await asyncio.to_thread(client.start)
    try:
        await asyncio.gather(*(asyncio.to_thread(serve, client, number) for number in NUMBERS))
    finally:
        await asyncio.to_thread(client.close)
    assert all_recorded(fleet)
