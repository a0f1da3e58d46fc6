"""A disk that fills up under the services, and has space again."""

import asyncio
import time

import pytest

from tallygate.client import MeteringClient
from tests.e2e.test_fleet import SERVICE, balance_nanos, enable, meter_one
from tests.harness.programs.programs import Pair

FULL_S = 3.0


@pytest.mark.parametrize("full", ["control", "node-1"])
async def test_a_full_disk_loses_nothing(pair: Pair, full: str) -> None:
    """Decisions go on, receipts of the node wait, and with the first space all is durable; no hand is needed."""
    await enable(pair)
    costs = [await meter_one(pair.metering, "before")]
    program = pair.programs[full]
    async with MeteringClient([pair.metering.address]) as client:
        running = client.request(SERVICE, request_id="running", input_tokens=100)
        await running.authorize()
        with program.disk_full():
            full_s = time.monotonic()
            begun = client.request(SERVICE, request_id="begun", input_tokens=100)
            await begun.authorize()
            for request in (running, begun):
                request.output(5)
                request.report()
                request.finish(want_receipt=True)
            waits = [asyncio.create_task(request.wait_recorded()) for request in (running, begun)]
            done, _ = await asyncio.wait(waits, timeout=FULL_S)
            assert bool(done) == (full == "control")
            await asyncio.sleep(FULL_S - (time.monotonic() - full_s))
        async with asyncio.timeout(10):
            receipts = await asyncio.gather(*waits)
        costs += [receipt.cost_nanos for receipt in receipts if receipt is not None]
    costs.append(await meter_one(pair.metering, "after"))
    assert costs == [100_000, 110_000, 110_000, 100_000]
    await pair.metering.stop()
    assert await balance_nanos(pair) == 5_000_000_000 - sum(costs)
