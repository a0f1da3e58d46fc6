"""A server that numbers its requests anew after each restart, as users do who do not know better."""

import asyncio

from tallygate.client import MeteringClient
from tests.harness.client.patient import PATIENT
from tests.harness.patience import PATIENCE_S
from tests.harness.programs.one_service import BOTH, SERVICE, assert_balance, enable, meter_one
from tests.harness.programs.programs import Pair
from tests.harness.programs.requests import begun


@BOTH
async def test_ids_that_finished_before_a_restart_are_refused_and_paid_for(pair: Pair) -> None:
    """r1 again, at a node that was restarted meanwhile: told to stop, and what it generated is billed once more."""
    await enable(pair)
    cost = await meter_one(pair.metering, "r1")
    await pair.metering.kill()
    node = await pair.start_node("node-1")
    await meter_one(node, "warm")
    async with MeteringClient([node.address], settings=PATIENT) as client:
        request = await begun(client, SERVICE, request_id="r1", input_tokens=100)
        async with asyncio.timeout(PATIENCE_S):
            while not request.must_stop:  # noqa: ASYNC110  # as a server that looks between two tokens
                await asyncio.sleep(0.01)
        assert request.denial is not None
        assert request.denial.reason == "REQUEST_ID_REUSED"
        request.output(3)
        request.finish(want_receipt=True)
        receipt = await request.wait_recorded()
    assert receipt is not None
    assert receipt.cost_nanos == 100 * 1_000 + 3 * 2_000
    await node.stop()
    await assert_balance(pair, 5_000_000_000 - 2 * cost - receipt.cost_nanos)
