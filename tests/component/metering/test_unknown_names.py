"""Names of services that control does not know, or has not answered for: they are bounded, and forgotten."""

import asyncio

import pytest

from metering_service.domain.counts import Counts
from metering_service.domain.decision import Reason
from metering_service.domain.report import Phase
from metering_service.usecases.leases import config_intake
from metering_service.usecases.leases.config_intake import forget_idle
from metering_service.usecases.settings import NodeSettings
from tests.harness.metering.node_harness import Client, Fleet, report
from tests.harness.metering.services import with_trial

AUTHORIZE = Phase.AUTHORIZE


def test_made_up_names_do_not_fill_the_memory() -> None:
    """So many are remembered, the oldest are forgotten and no longer followed."""
    fleet = Fleet(settings=NodeSettings(unknown_services_max=10))
    client = Client(fleet["a"])
    for number in range(50):
        client.say(report(AUTHORIZE, service=f"accounts/acme/services/nobody-{number}"))
    assert len(fleet["a"].node.services) == len(fleet["a"].node.unknown) == 10
    assert {decision.reason for _, decision in client.decisions} == {Reason.UNKNOWN_SERVICE}


def test_nor_do_they_faster_than_housekeeping_looks_at_services(monkeypatch: pytest.MonkeyPatch) -> None:
    """It has nothing of names that were forgotten before it came to them, but for those of one round."""
    monkeypatch.setattr(config_intake, "VISITED_AT_ONCE", 4)
    node = Fleet(settings=NodeSettings(unknown_services_max=10))["a"].node
    for number in range(100):
        node.service(f"accounts/acme/services/nobody-{number}")
        if number % 10 == 0:
            forget_idle(node)
        assert len(node.service_round) <= 10


def test_nor_do_they_while_control_does_not_answer() -> None:
    """A name is forgotten once nothing waits on it; while something does, it is not, however many there are."""
    fleet = Fleet(settings=NodeSettings(unknown_services_max=10))
    fleet["a"].linked = False
    client = Client(fleet["a"])
    for number in range(50):
        client.send(report(AUTHORIZE, f"r{number}", service=f"accounts/acme/services/nobody-{number}"))
    assert len(fleet["a"].node.services) == 50
    fleet.run(ms=120)
    client.hear()
    assert {decision.reason for _, decision in client.decisions} == {Reason.CONTROL_UNREACHABLE}
    for number in range(50):
        client.send(report(AUTHORIZE, f"r{number}", service=f"accounts/acme/services/none-{number}"))
        fleet.run(ms=120)
    assert len(fleet["a"].node.services) == len(fleet["a"].node.unknown) == len(fleet["a"]._told) == 10
    with_trial(fleet, 1_000)
    fleet["a"].linked = True
    decision = client.say(report(AUTHORIZE, "r0", Counts(1)))
    assert decision is not None
    assert decision.allowed


async def test_whoever_waits_for_a_name_that_is_forgotten_waits_no_longer() -> None:
    """What was asked about is not known then."""
    fleet = Fleet(settings=NodeSettings(unknown_services_max=1))
    node = fleet["a"].node
    fleet["a"].linked = False
    waiting = asyncio.create_task(node.known_service("accounts/acme/services/one"))
    await asyncio.sleep(0)
    node.service("accounts/acme/services/two")
    assert node._awaited == {}
    assert (await waiting).config is None
