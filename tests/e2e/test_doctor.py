"""`tallygate doctor` at real programs."""

import asyncio

from tests.harness.patience import PATIENCE_S
from tests.harness.programs.command import Said, tallygate
from tests.harness.programs.one_service import enable, meter_one
from tests.harness.programs.programs import Pair


def doctor(pair: Pair) -> Said:
    """The command, at the first replica and node."""
    return tallygate("doctor", "--control", pair.control.address, "--metering", pair.metering.address, "--json")


async def test_a_pair_is_well_until_its_node_is_killed(pair: Pair) -> None:
    """Status 0 and no complaint; then 1, and both that it does not answer and, once it is missed, what it holds."""
    await enable(pair)
    await meter_one(pair.metering, "takes a lease")
    well = await asyncio.to_thread(doctor, pair)
    assert (well.status, well.json["found"]) == (0, []), well.out
    control, node = well.json["programs"]
    assert (control["database"], node["node"]) == ("sqlite", "node-1")
    assert control["contract_digest"] == node["diagnostics"]["contract_digest"]

    await pair.metering.kill()
    async with asyncio.timeout(PATIENCE_S):
        while "has units on lease" not in (ill := await asyncio.to_thread(doctor, pair)).out:
            assert ill.status == 1
    assert {each["where"] for each in ill.json["found"]} == {f"node {pair.metering.address}", "node node-1"}
