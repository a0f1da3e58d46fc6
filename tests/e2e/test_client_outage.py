"""The client's own words against real nodes: an outage that requests outlive, usage that nobody asked for, threads."""

import asyncio

from tallygate.client import ClientSettings, MeteringClient, SyncMeteringClient, Usage
from tests.harness.patience import PATIENCE_S
from tests.harness.programs.one_service import SERVICE, balance_nanos, enable, meter_one
from tests.harness.programs.programs import Pair

SETTINGS = ClientSettings(answer_ms=3_000, receipt_ms=120_000, unreachable_tokens_max=2_000, backoff_cap_ms=200)


async def test_what_went_on_without_a_node_is_charged_exactly_once_it_is_back(pair: Pair) -> None:
    """One request ends during the outage and one after it; both are in the books to the token."""
    await enable(pair)
    cost = await meter_one(pair.metering, "before")
    address = pair.metering.address
    await pair.metering.stop()
    async with MeteringClient(address, settings=SETTINGS, on_unreachable="allow") as metering:
        async with metering.request(SERVICE, input_tokens=100, receipt=False) as ended:
            ended.output(50)
        async with metering.request(SERVICE, input_tokens=200) as running:
            running.output(70)
            assert metering.connected_to == ""
            await pair.start_node("node-1", address)
            async with asyncio.timeout(PATIENCE_S):
                while running.grant is None and running.denial is None:  # noqa: ASYNC110  # another process answers
                    await asyncio.sleep(0.05)
            # A node that has not found its control service yet says that it cannot tell.
            assert running.denial is None or running.denial.retryable
            running.output(30)
        await running.wait_recorded()
        assert running.receipt is not None
        assert running.receipt.billed == Usage(input_tokens=200, output_tokens=100)
        await ended.wait_recorded()
    await pair.metering.stop()
    cost += (100 + 2 * 50 + 200 + 2 * 100) * 1_000
    assert await balance_nanos(pair) == 5_000_000_000 - cost


async def test_renewals_records_and_threads_add_up(pair: Pair) -> None:
    """A long request of a thread meets no ceiling, and usage recorded without asking is charged as any other."""
    await enable(pair)
    cost = await meter_one(pair.metering, "before")

    def serve() -> tuple[int, int]:
        with SyncMeteringClient(pair.metering.address, settings=SETTINGS) as metering:
            record = metering.record(SERVICE, Usage(input_tokens=3, output_tokens=4))
            with metering.request(SERVICE, input_tokens=10) as request:
                while request.usage.output_tokens < 20_000 and request.wait_for_tokens():
                    request.output(10)
        assert request.receipt is not None
        assert record.receipt is not None
        assert (request.receipt.overrun_tokens, request.receipt.billed.output_tokens) == (0, 20_000)
        return request.receipt.cost_nanos, record.receipt.cost_nanos

    costs = await asyncio.to_thread(serve)
    assert costs == ((10 + 40_000) * 1_000, (3 + 8) * 1_000)
    await pair.metering.stop()
    assert await balance_nanos(pair) == 5_000_000_000 - cost - sum(costs)
