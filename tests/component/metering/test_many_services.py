"""More services with leases than a node looks after with each exchange."""

from collections import Counter
from collections.abc import Iterator
from typing import Any

import pytest

from control_service.domain.pot import Quantity
from metering_service import IS_COMPILED
from metering_service.domain.counts import Counts
from metering_service.domain.lease import CLOSE_AFTER_NS, Lease, LeaseStatement
from metering_service.domain.pot import PotKind
from metering_service.domain.report import Phase
from metering_service.usecases.leases import config_intake, due_holders
from metering_service.usecases.leases.config_intake import forget_idle
from metering_service.usecases.lookups import parked
from metering_service.usecases.lookups.parked import expire
from metering_service.usecases.node import Node
from metering_service.usecases.reports.process import decide
from metering_service.usecases.state.lease_holder import LeaseHolder
from metering_service.usecases.state.service_state import ServiceState
from metering_service.usecases.state.waiter import Waiter
from tests.harness.metering.fake_control import VALID_FOR_NS
from tests.harness.metering.node_harness import Client, Fleet, Rig, report
from tests.harness.metering.services import with_trial

IN_PYTHON = pytest.mark.skipif(IS_COMPILED, reason="what is compiled takes no patches")
SERVICES = [f"accounts/acme/services/s{number:02d}" for number in range(40)]
QUOTA_TOKENS = 100_000
ONE_EXCHANGE = 20
"""Statements that one takes, here."""


@pytest.fixture
def fleet(monkeypatch: pytest.MonkeyPatch) -> Fleet:
    """A node that looks after two of forty services at a time, each with a trial."""
    monkeypatch.setattr(due_holders, "VISITED_MIN", 2)
    fleet = Fleet()
    for name in SERVICES:
        with_trial(fleet, QUOTA_TOKENS, name=name)
    return fleet


@pytest.fixture
def client(fleet: Fleet) -> Client:
    """A stream with an open request of each of them."""
    client = Client(fleet["a"])
    client.send(*(report(Phase.AUTHORIZE, name[-3:], Counts(10), service=name) for name in SERVICES))
    fleet.run(ms=100)
    client.hear()
    assert client.answered == client.sequence
    return client


def finish_all(client: Client) -> None:
    """Each of them used another number of tokens."""
    client.send(
        *(report(Phase.FINISH, name[-3:], Counts(10, output=at), service=name) for at, name in enumerate(SERVICES))
    )


def pot(fleet: Fleet, name: str) -> Quantity:
    """The trial as control has it."""
    found = fleet.control.pots[fleet.control.key(fleet.control.services[name].uid, PotKind.TRIAL)]
    assert isinstance(found, Quantity)
    return found


def leases(rig: Rig) -> list[Lease]:
    """The lease of each."""
    return [rig.node.services[name].leases[PotKind.TRIAL] for name in SERVICES]


def exchange(rig: Rig, *, lost: bool = False) -> list[LeaseStatement]:
    """One, which takes a part of what there is to say."""
    asked_ns = rig.node.clock.monotonic_ns()
    said = rig.keeper.statements()[:ONE_EXCHANGE]
    if not lost:
        rig.keeper.answered(said, rig.control.exchange(rig.node.name, rig.node.epoch, said), asked_ns, VALID_FOR_NS)
    return said


def test_each_of_them_is_settled_at_once(fleet: Fleet, client: Client) -> None:
    """Whoever has something to say is heard with the next exchange, however many others there are."""
    finish_all(client)
    fleet.run(ms=200)
    assert [pot(fleet, name).spent_units for name in SERVICES] == [10 + at for at in range(len(SERVICES))]


def test_what_time_alone_makes_idle_is_found_in_turn(fleet: Fleet, client: Client) -> None:
    """Leases at rest are given back, and closed in the end."""
    finish_all(client)
    fleet.run(seconds=8)
    assert {pot(fleet, name).leased_units for name in SERVICES} == {0}
    fleet.run(seconds=CLOSE_AFTER_NS // 1_000_000_000 + 8)
    leases = fleet["a"].node.lease_index
    assert (leases.holders, leases.moved, leases.by_lease_id, leases.by_uid) == ({}, {}, {}, {})
    assert fleet["a"].keeper.all_closed


def test_burn_is_forgotten_with_time_and_not_with_visits(fleet: Fleet, client: Client) -> None:
    """What requests that run do not hold comes back within seconds, however many have leases."""
    fleet.run(seconds=20)
    assert client.session.idle
    assert {lease.free for lease in leases(fleet["a"])} == {0}


def test_a_recall_is_said_again_where_the_exchange_was_lost(fleet: Fleet, client: Client) -> None:
    """With the next one: another node waits for it."""
    rig = fleet["a"]
    recalled = leases(rig)[-1]
    rig.keeper.recall([recalled.lease_id])
    assert client.session.idle
    for lost in (True, False):
        assert recalled.lease_id in {one.lease_id for one in exchange(rig, lost=lost)}
    assert recalled.returned > 0


def test_what_was_found_in_turn_is_said_again_where_the_exchange_was_lost(fleet: Fleet, client: Client) -> None:
    """It does not wait for its next turn."""
    rig = fleet["a"]
    assert client.session.idle
    for _ in range(2 * len(SERVICES)):
        exchange(rig)
    assert rig.node.lease_index.moved == {}
    fleet.clock.advance(seconds=11)
    lost = {one.lease_id for one in exchange(rig, lost=True)}
    assert lost
    assert lost <= {one.lease_id for one in exchange(rig)}


class Unwalked(dict[str, LeaseHolder]):
    """Looked up in by name, and never gone through."""

    def __iter__(self) -> Iterator[str]:
        raise AssertionError("it is gone through")

    items = keys = values = __iter__  # type: ignore[assignment]


@pytest.mark.parametrize("closed", [False, True])
def test_what_control_calls_for_is_found_without_a_walk(fleet: Fleet, client: Client, closed: bool) -> None:
    """However many have leases: a recalled lease, also a closed one's successor, and a replenished service."""
    rig = fleet["a"]
    service = rig.node.services[SERVICES[-1]]
    if closed:
        service.replace_lease(service.leases[PotKind.TRIAL])
    assert client.session.idle
    for _ in range(2 * len(SERVICES)):
        exchange(rig)
    assert rig.node.lease_index.moved == {}
    rig.node.lease_index.holders = Unwalked(rig.node.lease_index.holders)
    lease = service.leases[PotKind.TRIAL]
    lease.demand._empty_until_ns = fleet.clock.monotonic_ns() + 1_000_000_000
    rig.keeper.replenish(["not known here", service.uid])
    assert not lease.offer(fleet.clock.monotonic_ns()).exhausted
    rig.keeper.recall(["not known here", lease.lease_id])
    rig.keeper._mark_recalled()
    assert lease.demand.recalled
    assert list(rig.node.lease_index.moved) == [service.name]


def test_recalls_beyond_what_one_exchange_takes_come_with_the_next(fleet: Fleet, client: Client) -> None:
    """They do not wait for their turn among those at rest."""
    rig = fleet["a"]
    recalled = {lease.lease_id for lease in leases(rig)}
    rig.keeper.recall(list(recalled))
    assert client.session.idle
    assert {one.lease_id for _ in range(2) for one in exchange(rig)} == recalled


def test_a_shut_down_takes_no_more_exchanges_than_statements_need(fleet: Fleet, client: Client) -> None:
    """All is given back as fast as control takes it."""
    rig = fleet["a"]
    finish_all(client)
    rig.commit()
    rig.keeper.close_all()
    for _ in range(2 * len(SERVICES) // ONE_EXCHANGE):
        exchange(rig)
        rig.commit()
    assert rig.keeper.all_closed


@pytest.mark.parametrize("visited_min", [2, 256])
def test_what_open_requests_hold_does_not_keep_others_from_being_said(
    fleet: Fleet, client: Client, monkeypatch: pytest.MonkeyPatch, visited_min: int
) -> None:
    """At a shut-down each lease that is held speaks in every exchange; those cut off come first in the next."""
    monkeypatch.setattr(due_holders, "VISITED_MIN", visited_min)
    rig = fleet["a"]
    assert client.session.idle
    rig.keeper.close_all()
    for _ in range(4 * len(SERVICES) // ONE_EXCHANGE):
        exchange(rig)
        rig.commit()
    assert rig.keeper.all_given_back


@pytest.fixture
def looks(monkeypatch: pytest.MonkeyPatch) -> "Counter[str]":
    """How often each lease is asked what there is to say of it."""
    looks: Counter[str] = Counter()
    statement = Lease.statement

    def counted(lease: Lease, now_ns: int, *, idle: bool) -> Any:
        looks[lease.lease_id] += 1
        return statement(lease, now_ns, idle=idle)

    monkeypatch.setattr(Lease, "statement", counted)
    return looks


@IN_PYTHON
def test_what_one_exchange_does_is_bounded_by_what_it_has_room_for(
    fleet: Fleet, client: Client, looks: "Counter[str]", monkeypatch: pytest.MonkeyPatch
) -> None:
    """However many have something to say: with each exchange as many as are said, and a few of those at rest."""
    monkeypatch.setattr(due_holders, "MOVED_MAX", ONE_EXCHANGE // 2)
    rig = fleet["a"]
    finish_all(client)
    rig.commit()
    said: set[str] = set()
    for _ in range(2 * len(SERVICES) // ONE_EXCHANGE):
        assert rig.keeper.wants_more()
        looks.clear()
        said |= {one.lease_id for one in exchange(rig)}
        assert looks.total() <= ONE_EXCHANGE // 2 + 2
    assert len(said) == len(SERVICES)


@IN_PYTHON
def test_a_request_that_waits_is_heard_before_a_crowd(
    fleet: Fleet, client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whoever waits for a lease comes first, but does not keep all others from being said."""
    monkeypatch.setattr(due_holders, "MOVED_MAX", 4)
    rig = fleet["a"]
    finish_all(client)
    rig.commit()
    more = [report(Phase.AUTHORIZE, "more", Counts(QUOTA_TOKENS // 2), service=name) for name in SERVICES[-3:]]
    client.send(*more)
    said = exchange(rig)
    assert [one.service for one in said if one.needed_units] == SERVICES[-3:-1]
    assert len(said) >= len(SERVICES[-3:]) + 1


@IN_PYTHON
def test_a_lease_at_rest_is_left_alone(fleet: Fleet, client: Client, looks: "Counter[str]") -> None:
    """It takes nothing of each exchange: what its requests hold is known, and time alone changes it no more."""
    assert client.session.idle
    fleet.run(seconds=20)
    looks.clear()
    fleet.run(seconds=30)
    assert not looks


@IN_PYTHON
def test_idle_services_are_looked_for_a_few_at_a_time(fleet: Fleet, monkeypatch: pytest.MonkeyPatch) -> None:
    """Housekeeping does not go through all of them each second, and yet forgets each that is idle."""
    monkeypatch.setattr(config_intake, "VISITED_AT_ONCE", 10)
    node = fleet["a"].node
    for name in SERVICES:
        node.service(name)
    node.services[SERVICES[0]].last_used_ns = fleet.clock.monotonic_ns() + node.settings.idle_service_kept_ns
    fleet.clock.advance(us=node.settings.idle_service_kept_ns // 1_000)
    left = []
    for _ in range(2 * len(SERVICES) // 10):
        forget_idle(node)
        left.append(len(node.services))
    assert left == [31, 21, 11, 1, 1, 1, 1, 1]
    assert list(node.services) == SERVICES[:1]


@IN_PYTHON
def test_a_crowd_that_waits_for_control_is_decided_on_when_there_is_news(
    fleet: Fleet, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And not again and again: where control is slow as it is, its nodes have other work to do."""
    monkeypatch.setattr(parked, "CROWD", len(SERVICES) - 1)
    rig, decided = fleet["a"], list[str]()

    def noted(node: Node, service: ServiceState, waiter: Waiter) -> Any:
        decided.append(service.name)
        return decide(node, service, waiter)

    monkeypatch.setattr(parked, "decide", noted)
    for name in SERVICES:
        rig.node.service(name)
    rig.hear_control()
    client = Client(rig)
    client.send(*(report(Phase.AUTHORIZE, name[-3:], Counts(10), service=name) for name in SERVICES))
    fleet.clock.advance(us=rig.node.settings.wait_max_ns // 1_000 + 1)
    expire(rig.node)
    assert not decided
    rig.exchange_leases()
    client.hear()
    assert client.answered == client.sequence
    assert sorted(decided) == SERVICES
