"""`tallygate node traffic` at a real node."""

import asyncio

from tests.harness.programs.command import tallygate
from tests.harness.programs.one_service import enable, meter_one
from tests.harness.programs.programs import Pair


async def test_a_node_says_what_went_through_it(pair: Pair) -> None:
    """Tokens by kind and payer, requests, grants; denials by reason; the same figures in the table."""
    await enable(pair)
    for number in range(3):
        await meter_one(pair.metering, f"request-{number}")
    said = await asyncio.to_thread(tallygate, "node", "traffic", "--metering", pair.metering.address, "--json")
    traffic = said.json["traffic"]
    figures = (traffic["usage"]["input_tokens"], traffic["payers"]["billed_tokens"], traffic["payers"]["trial_tokens"])
    assert figures == ("300", "300", "0")
    assert (traffic["node"], traffic["epoch"], traffic["booked_request_count"]) == ("node-1", "1", "3")
    assert int(traffic["grant_count"]) >= 3
    assert (traffic["open_request_count"], traffic["open_stream_count"]) == ("0", "0")
    # Until its service runs, and while it waits for leases, a node denies.
    assert set(traffic["denial_counts"]) <= {"ACTIVATING", "BUDGET_CONTENDED", "CONTROL_UNREACHABLE"}
    table = await asyncio.to_thread(tallygate, "node", "traffic", "--metering", pair.metering.address)
    assert ("node-1" in table.out, "300" in table.out) == (True, True)
