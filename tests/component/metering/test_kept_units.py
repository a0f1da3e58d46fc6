"""A crash never overdraws a lease: what a record would still use leaves the node with the commit that lowers it."""

import pytest

from metering_service.domain.counts import Counts
from metering_service.domain.lease import Lease
from metering_service.domain.pot import PotKind
from metering_service.domain.price import Price
from metering_service.domain.report import Phase
from tests.harness.metering.node_harness import Client, Fleet, report
from tests.harness.metering.services import SERVICE, with_money, with_trial
from tests.harness.metering.two_nodes import granted

AUTHORIZE, PROGRESS, FINISH = Phase.AUTHORIZE, Phase.PROGRESS, Phase.FINISH
CHEAP_CACHE = Price(1, 4_000_000, 1_000_000, 4_000_000, 4_000_000, 1_000_000)
"""Four nanos a token; one where it was cached, or is reasoning."""


def on_record(fleet: Fleet, counts: Counts, *, estimated: bool = True) -> Client:
    """A request that runs, of which the database has these counts."""
    client = Client(fleet["a"])
    granted(client.say(report(AUTHORIZE, counts=Counts(300), max_output_tokens=200)))
    client.say(report(PROGRESS, counts=counts, estimated=estimated))
    fleet.run(ms=200)
    assert len(fleet.database.requests) == 1
    return client


def lease_of(fleet: Fleet, kind: PotKind) -> Lease:
    return fleet["a"].node.services[SERVICE].leases[kind]


def give_back(fleet: Fleet, kind: PotKind) -> int:
    """All that the lease has free goes to another node that needs it; how much stayed."""
    rig, lease = fleet["a"], lease_of(fleet, kind)
    granted_before = lease.granted
    rig.keeper.recall([lease.lease_id])
    rig.exchange_leases()
    return granted_before - lease.returned


def overdrawn(fleet: Fleet) -> int:
    """Units consumed that leases did not have any more, once all that was lost is booked."""
    fleet.run(seconds=60)
    beyond = (each.consumed_units + each.returned_units - each.granted_units for each in fleet.control.leases.values())
    return sum(max(0, units) for units in beyond)


def test_what_an_exact_finish_frees_of_its_record_goes_with_its_commit() -> None:
    """What was held beyond the record goes at once."""
    fleet = Fleet()
    with_trial(fleet, 10_000)
    client = on_record(fleet, Counts(252, output=20))
    lease = lease_of(fleet, PotKind.TRIAL)
    client.say(report(FINISH, counts=Counts(100, output=15)))
    assert (lease.booked, lease.held) == (115, 272 - 115)
    assert give_back(fleet, PotKind.TRIAL) == 272
    fleet["a"].commit()
    assert lease.held == 0
    assert give_back(fleet, PotKind.TRIAL) == 115


@pytest.mark.parametrize("waits", [False, True])
def test_a_crash_before_the_commit_of_a_lower_finish_overdraws_nothing(*, waits: bool) -> None:
    """Nor where the finish was heard a while ago, and waited for something before it was booked."""
    fleet = Fleet()
    with_trial(fleet, 10_000)
    client = on_record(fleet, Counts(252, output=20))
    if waits:
        (request,) = fleet["a"].node.services[SERVICE].open.values()
        request.learn(report(FINISH, counts=Counts(100, output=15)).tally)
    client.say(report(FINISH, counts=Counts(100, output=15)))
    assert give_back(fleet, PotKind.TRIAL) == 272
    fleet.crash("a")
    fleet.start("a")
    assert overdrawn(fleet) == 0
    (record,) = fleet.database.requests.values()
    assert record.receipt.usage.total == 272


@pytest.mark.parametrize("last", [Counts(60, cached_input=240, output=40), Counts(300, output=10, reasoning=30)])
def test_kinds_that_turn_out_cheaper_free_money_with_their_commit(last: Counts) -> None:
    """The same tokens cost more by what is on record."""
    fleet = Fleet()
    with_money(fleet, 100_000, price=CHEAP_CACHE)
    client = on_record(fleet, Counts(300, output=40), estimated=False)
    client.say(report(FINISH, counts=last))
    assert give_back(fleet, PotKind.MONEY) == 340 * 4
    fleet.crash("a")
    fleet.start("a")
    assert overdrawn(fleet) == 0
    (record,) = fleet.database.requests.values()
    assert record.receipt.cost_nanos == 340 * 4


def test_nothing_is_kept_of_a_request_that_was_never_on_record() -> None:
    """Nearly all requests end before their first checkpoint."""
    fleet = Fleet()
    with_money(fleet, 100_000, price=CHEAP_CACHE)
    client = Client(fleet["a"])
    granted(client.say(report(AUTHORIZE, counts=Counts(300), max_output_tokens=200)))
    client.say(report(PROGRESS, counts=Counts(252, output=20), estimated=True))
    client.say(report(FINISH, counts=Counts(cached_input=100, output=15)))
    lease = lease_of(fleet, PotKind.MONEY)
    assert (lease.booked, lease.held) == (160, 0)
    assert give_back(fleet, PotKind.MONEY) == 160


def test_a_lease_that_control_closes_hands_on_what_is_kept() -> None:
    """As it hands on what requests hold: the commit frees it where it is then."""
    fleet = Fleet()
    with_trial(fleet, 10_000)
    client = on_record(fleet, Counts(252, output=20))
    client.say(report(FINISH, counts=Counts(100, output=15)))
    service, lease = fleet["a"].node.services[SERVICE], lease_of(fleet, PotKind.TRIAL)
    service.replace_lease(lease)
    successor = lease_of(fleet, PotKind.TRIAL)
    assert (lease.held, successor.held) == (0, 157)
    fleet["a"].commit()
    assert (lease.settled, successor.settled) == (True, True)
