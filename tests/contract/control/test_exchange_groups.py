"""Exchanges of several nodes in one transaction: what each of them gets, and what a refused or a failing one costs."""

import asyncio
from collections.abc import Sequence
from typing import Any

import pytest

from control_service.domain.errors import Reason, RefusedError
from control_service.domain.pot import PotKind
from control_service.domain.recall import Availability
from control_service.domain.service import Service
from control_service.usecases.fault_isolation import FaultIsolation
from control_service.usecases.fleet import lease_settlement
from control_service.usecases.fleet.exchange_messages import LeaseAnswer
from tests.harness.control.fleet_harness import FleetNode, Kit

MONEY = PotKind.MONEY
FUNDS = 1_000_000


async def _fleet(kit: Kit, count: int) -> list[FleetNode]:
    return [await kit.node(f"node-{number}") for number in range(count)]


async def _together(nodes: Sequence[FleetNode], service: Service, **stated: int | bool) -> list[Any]:
    """All nodes exchange at once; the answer of each, or why it was refused."""
    exchanges = (node.exchange_one(service, MONEY, **stated) for node in nodes)
    return await asyncio.gather(*exchanges, return_exceptions=True)


async def test_nodes_that_come_at_once_share_a_transaction(kit: Kit) -> None:
    """Each gets what it needs, and the books have the sum."""
    service, nodes = await kit.service(postpaid=True), await _fleet(kit, 8)
    answers = await _together(nodes, service, needed_units=100)
    assert [answer.granted_units for answer in answers] == [100] * 8
    assert kit.exchange.groups.sizes == {8: 1}
    assert (await kit.read_account()).leased_nanos == 800
    await _together(nodes, service, consumed_units=60, closing=True)
    account = await kit.read_account()
    assert (account.leased_nanos, account.spent_nanos) == (0, 480)
    await kit.assert_conserved(service)


async def test_the_last_units_are_granted_once(kit: Kit) -> None:
    """Needs are served in order of arrival, out of what those before have left; nobody gets what another one has."""
    service, nodes = await kit.service(postpaid=True), await _fleet(kit, 4)
    answers = await _together(nodes, service, needed_units=600_000)
    assert [answer.granted_units for answer in answers] == [600_000, 400_000, 0, 0]
    assert [answer.availability for answer in answers] == [Availability.AVAILABLE, *[Availability.RECALLING] * 3]
    assert (await kit.read_account()).leased_nanos == FUNDS
    await kit.assert_conserved(service)


async def test_a_refused_node_costs_the_others_nothing(kit: Kit) -> None:
    """One is fenced, one never registered, one has said its number before: each is refused for its own reason."""
    service, (good, old, late, other) = await kit.service(postpaid=True), await _fleet(kit, 4)
    await kit.node(old.name, epoch=2)
    await late.exchange(number=7)
    stranger = FleetNode(kit, "stranger", 1)
    late.exchange_number = 3
    found = await _together([good, old, stranger, late, other], service, needed_units=100)
    assert kit.exchange.groups.sizes[5] == 1
    assert [one.granted_units for one in found if isinstance(one, LeaseAnswer)] == [100, 100]
    reasons = [one.reason for one in found if not isinstance(one, LeaseAnswer)]
    assert reasons == [Reason.NODE_FENCED, Reason.NODE_NOT_REGISTERED, Reason.EXCHANGE_SUPERSEDED]
    assert (await kit.read_account()).leased_nanos == 200


async def test_a_lease_that_two_nodes_name_is_the_first_ones(kit: Kit) -> None:
    """The second one waits for the next group, where the lease is known to be another node's."""
    service, nodes = await kit.service(postpaid=True), await _fleet(kit, 2)
    stated = nodes[0].state(service, MONEY, needed_units=100)
    same = nodes[1].state(service, MONEY, needed_units=100)
    same = type(same)(same.node, 1, same.service_name, same.service_uid, MONEY, stated.statement)
    (first,), (second,) = await asyncio.gather(nodes[0].exchange(stated), nodes[1].exchange(same))
    assert (first.granted_units, second.granted_units, second.closed) == (100, 0, True)
    assert (await kit.read_account()).leased_nanos == 100


def _break(service: Service, monkeypatch: pytest.MonkeyPatch) -> None:
    """What is stated on this service fails from now on."""
    real = lease_settlement.settle

    async def failing(tx: Any, statements: Any, *rest: Any) -> Any:
        if any(one.service_uid == service.uid for one in statements):
            raise ValueError("a row that cannot be read")
        return await real(tx, statements, *rest)

    monkeypatch.setattr("control_service.usecases.fleet.lease_exchange.settle", failing)


async def test_who_fails_is_told_apart(kit: Kit, monkeypatch: pytest.MonkeyPatch) -> None:
    """The others are served all the same, once; of the one that failed, what can be served is."""
    service, broken = await kit.service(postpaid=True), await kit.service("broken", postpaid=True)
    nodes = await _fleet(kit, 6)
    _break(broken, monkeypatch)
    stated = nodes[3].state(service, MONEY, needed_units=10), nodes[3].state(broken, MONEY)
    failing_one = asyncio.create_task(nodes[3].exchange(*stated))
    others = [node.exchange_one(service, MONEY, needed_units=10) for node in nodes if node is not nodes[3]]
    answers = await asyncio.gather(*others, return_exceptions=False)
    of_bad = await failing_one
    assert [one.granted_units for one in answers] == [10] * 5
    assert [one.granted_units for one in of_bad] == [10]
    assert (await kit.read_account()).leased_nanos == 60
    await kit.assert_conserved(service)


async def test_a_node_that_starts_again_while_it_is_served_apart_sets_no_service_aside(
    kit: Kit, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is told that it is fenced; the fault is no service's, and another node is served for those that are whole."""
    service, broken = await kit.service(postpaid=True), await kit.service("broken", postpaid=True)
    restarting, other = await _fleet(kit, 2)
    _break(broken, monkeypatch)
    real = FaultIsolation.run_each

    async def restarted(self: FaultIsolation, *arguments: Any) -> None:
        await kit.node(restarting.name, epoch=2)
        await real(self, *arguments)

    with monkeypatch.context() as patch:
        patch.setattr(FaultIsolation, "run_each", restarted)
        with pytest.raises(RefusedError) as refused:
            await restarting.exchange(restarting.state(service, MONEY), restarting.state(broken, MONEY))
    assert refused.value.reason is Reason.NODE_FENCED
    found = await other.exchange(other.state(service, MONEY, needed_units=10), other.state(broken, MONEY))
    assert [one.granted_units for one in found] == [10]


async def test_prefetch_goes_in_turn(kit: Kit) -> None:
    """What nodes want ahead of need is lent to each for its first lease before any has its second."""
    services = [await kit.service(name, postpaid=True) for name in ("a", "b")]
    nodes = await _fleet(kit, 2)
    exchanges = (node.exchange(*(node.state(one, MONEY, wanted_units=FUNDS) for one in services)) for node in nodes)
    first, second = await asyncio.gather(*exchanges)
    assert first[0].granted_units > second[0].granted_units > first[1].granted_units > second[1].granted_units
    await kit.assert_conserved(*services)


async def test_a_node_that_goes_takes_nobody_along(kit: Kit) -> None:
    """A caller that is cancelled in the midst leaves the group as it is."""
    service, nodes = await kit.service(postpaid=True), await _fleet(kit, 3)
    tasks = [asyncio.create_task(node.exchange_one(service, MONEY, needed_units=10)) for node in nodes]
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    tasks[0].cancel()
    found = await asyncio.gather(*tasks, return_exceptions=True)
    assert isinstance(found[0], asyncio.CancelledError)
    assert [one.granted_units for one in found[1:] if isinstance(one, LeaseAnswer)] == [10, 10]
    assert (await kit.read_account()).leased_nanos == 30
    with pytest.raises(RefusedError):
        await FleetNode(kit, nodes[0].name, 2).exchange()
