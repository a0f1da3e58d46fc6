"""`tallygate doctor` at real programs."""

import asyncio

from tests.harness.patience import PATIENCE_S
from tests.harness.programs.command import Said, tallygate
from tests.harness.programs.one_service import enable, meter_one
from tests.harness.programs.programs import Pair


def doctor(pair: Pair) -> Said:
    """The command, at the first replica and node."""
    return tallygate("doctor", "--control", pair.control.address, "--metering", pair.metering.address, "--json")


def places(said: Said) -> set[str]:
    """Where something is wrong; for a moment that may be a node that is slow."""
    return {each["where"] for each in said.json["found"]}


async def test_a_pair_is_well_until_its_node_is_killed(pair: Pair) -> None:
    """Status 0 and no complaint; then 1, and both that it does not answer and, once it is missed, what it holds."""
    await enable(pair)
    await meter_one(pair.metering, "takes a lease")
    async with asyncio.timeout(PATIENCE_S):
        while places(well := await asyncio.to_thread(doctor, pair)):
            pass
    assert well.status == 0
    control, node = well.json["programs"]
    assert (control["database"], node["node"]) == ("sqlite", "node-1")
    assert control["contract_digest"] == node["diagnostics"]["contract_digest"]

    await pair.metering.kill()
    async with asyncio.timeout(PATIENCE_S):
        while places(ill := await asyncio.to_thread(doctor, pair)) != {f"node {pair.metering.address}", "node node-1"}:
            assert ill.status == 1
    assert "has units on lease" in ill.out
