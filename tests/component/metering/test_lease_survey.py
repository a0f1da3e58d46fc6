"""The survey of leases, for metrics: what it adds up, and that decisions have their turn meanwhile."""

import asyncio

import pytest

from control_service.domain.pot import Quantity
from metering_service import lease_survey
from metering_service.domain.counts import Counts
from metering_service.domain.pot import PotKind
from metering_service.domain.report import Phase
from metering_service.lease_survey import survey_leases
from tests.harness.metering.node_harness import Client, Fleet, report
from tests.harness.metering.services import with_trial

SERVICES = [f"accounts/acme/services/s{number:02d}" for number in range(40)]


@pytest.fixture
def fleet() -> Fleet:
    """A node, and forty services with a trial each."""
    fleet = Fleet()
    for name in SERVICES:
        with_trial(fleet, 100_000, name=name)
    return fleet


async def test_what_is_held_and_what_is_free_are_what_control_has_leased(fleet: Fleet) -> None:
    """While requests run some is held; when they have ended nothing is."""
    client = Client(fleet["a"])
    client.send(*(report(Phase.AUTHORIZE, name[-3:], Counts(10), service=name) for name in SERVICES))
    fleet.run(ms=100)
    index = fleet["a"].node.lease_index
    pots = [fleet.control.pots[fleet.control.key(fleet.control.services[name].uid, PotKind.TRIAL)] for name in SERVICES]
    sums = await survey_leases(index)
    assert sums.number == {kind: len(SERVICES) if kind is PotKind.TRIAL else 0 for kind in PotKind}
    assert sums.held_units[PotKind.TRIAL] > 10 * len(SERVICES)
    leased_units = sum(pot.leased_units for pot in pots if isinstance(pot, Quantity))
    assert sums.held_units.total() + sums.free_units.total() == leased_units

    client.send(*(report(Phase.FINISH, name[-3:], Counts(10, output=5), service=name) for name in SERVICES))
    assert (await survey_leases(index)).held_units.total() == 0


async def test_decisions_have_a_turn_after_each_step(fleet: Fleet, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever waits for the loop runs as often as there are steps."""
    client = Client(fleet["a"])
    client.send(*(report(Phase.AUTHORIZE, name[-3:], Counts(10), service=name) for name in SERVICES))
    fleet.run(ms=100)
    monkeypatch.setattr(lease_survey, "STEP", 4)
    survey = asyncio.create_task(survey_leases(fleet["a"].node.lease_index))
    turns = 0
    while not survey.done():
        await asyncio.sleep(0)
        turns += 1
    assert turns >= len(SERVICES) // 4
