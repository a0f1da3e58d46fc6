"""More services with leases than a node looks after with each exchange."""

import pytest

from control_service.domain.budget import Quantity
from metering_service.domain.counts import Counts
from metering_service.domain.pool import CLOSE_AFTER_NS
from metering_service.domain.records import BudgetKind
from metering_service.domain.report import Phase
from metering_service.usecases import lease_keeper
from tests.metering.rig import Client, Fleet, report
from tests.metering.samples import running

SERVICES = [f"accounts/acme/services/s{number}" for number in range(9)]
QUOTA_TOKENS = 100_000


@pytest.fixture
def fleet(monkeypatch: pytest.MonkeyPatch) -> Fleet:
    """A node that looks after two of nine services at a time, each with a trial."""
    monkeypatch.setattr(lease_keeper, "VISITED_MAX", 2)
    fleet = Fleet()
    for name in SERVICES:
        fleet.control.trial(fleet.control.put(running(name, trial_pays=True)), QUOTA_TOKENS)
    return fleet


def budget(fleet: Fleet, name: str) -> Quantity:
    """The trial as control has it."""
    found = fleet.control.budgets[fleet.control.key(fleet.control.services[name].uid, BudgetKind.TRIAL)]
    assert isinstance(found, Quantity)
    return found


def authorise_all(client: Client) -> None:
    """A request of each."""
    client.send(*(report(Phase.AUTHORIZE, name[-2:], Counts(10), service=name) for name in SERVICES))


def test_each_of_them_gets_its_leases_and_is_settled_at_once(fleet: Fleet) -> None:
    """Whoever has something to say is heard with the next exchange, however many others there are."""
    client = Client(fleet["a"])
    authorise_all(client)
    fleet.run(ms=100)
    client.hear()
    assert client.answered == client.sequence
    for number, name in enumerate(SERVICES):
        client.send(report(Phase.FINISH, name[-2:], Counts(10, output=number), service=name))
    fleet.run(ms=200)
    assert [budget(fleet, name).spent_units for name in SERVICES] == [10 + number for number in range(9)]


def test_what_time_alone_makes_idle_is_found_in_turn(fleet: Fleet) -> None:
    """Leases at rest are given back, and closed in the end."""
    client = Client(fleet["a"])
    authorise_all(client)
    fleet.run(ms=400)
    for name in SERVICES:
        client.send(report(Phase.FINISH, name[-2:], Counts(10), service=name))
    fleet.run(seconds=5)
    assert [budget(fleet, name).leased_units for name in SERVICES] == [0] * 9
    fleet.run(seconds=CLOSE_AFTER_NS // 1_000_000_000 + 5)
    assert fleet["a"].node.leased == {}
    assert fleet["a"].keeper.all_closed


def test_a_recall_is_heard_by_any_of_them(fleet: Fleet) -> None:
    """With the next exchange."""
    client = Client(fleet["a"])
    authorise_all(client)
    fleet.run(ms=400)
    pools = [fleet["a"].node.services[name].pools[BudgetKind.TRIAL] for name in SERVICES]
    free = [pool.free for pool in pools]
    assert min(free) > 0
    fleet["a"].keeper.recall([pool.lease_id for pool in pools])
    fleet["a"].exchange_leases()
    assert [pool.returned for pool in pools] == free
