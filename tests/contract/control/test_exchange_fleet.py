"""Exchanges and the fleet: epochs, lost nodes, what does not fit, what was acknowledged."""

from dataclasses import replace

import pytest

from control_service.domain.errors import Reason, RefusedError, SupersededError
from control_service.domain.pot import PotKind
from tests.harness.control.fleet_harness import METERING_DATABASE, Kit

MONEY, TRIAL = PotKind.MONEY, PotKind.TRIAL


async def test_a_superseded_exchange_changes_nothing(kit: Kit) -> None:
    """A number that was taken, or a lower one, is refused with all its statements."""
    service, node = await kit.service(postpaid=True), await kit.node()
    await node.exchange(node.state(service, MONEY, wanted_units=100), number=5)
    for number in (5, 4):
        with pytest.raises(SupersededError):
            await node.exchange(node.state(service, MONEY, consumed_units=100), number=number)
    assert (await kit.read_account()).spent_nanos == 0


async def test_a_new_epoch_closes_the_leases_of_the_old_one(kit: Kit) -> None:
    """The new epoch states the old one's leases by the metering database; the rest comes back."""
    service, old = await kit.service(postpaid=True), await kit.node(epoch=1)
    await old.exchange_one(service, MONEY, needed_units=1_000)
    new = await kit.node(epoch=2)
    with pytest.raises(RefusedError) as caught:
        await old.exchange_one(service, MONEY, consumed_units=500)
    assert caught.value.reason is Reason.NODE_FENCED
    inherited = old.state(service, MONEY, consumed_units=700, closing=True)
    (answer,) = await new.exchange(replace(inherited, epoch=2))
    assert answer.closed
    account = await kit.read_account()
    assert (account.spent_nanos, account.leased_nanos) == (700, 0)
    await kit.assert_conserved()


async def test_what_does_not_fit_is_closed_and_the_rest_goes_on(kit: Kit) -> None:
    """An unknown service, a wrong uid, another's lease, a pot that is not there: closed with nothing granted."""
    service, other = await kit.service(postpaid=True), await kit.service("code", postpaid=True)
    node, stranger = await kit.node("node-a"), await kit.node("node-b")
    await stranger.exchange_one(service, MONEY, wanted_units=100)
    good = node.state(service, MONEY, wanted_units=100)
    bad = [
        replace(node.state(other, MONEY), service_name="accounts/acme/services/nowhere"),
        replace(node.state(other, MONEY), service_name="accounts/nobody/services/chat"),
        replace(node.state(other, MONEY), service_name="nonsense"),
        replace(node.state(other, MONEY), service_uid="wrong"),
        replace(good, statement=replace(good.statement, lease_id=stranger.lease_id(service, MONEY))),
        node.state(service, TRIAL, needed_units=10),
        node.state(service, PotKind.RESERVATION_INPUT, needed_units=10),
    ]
    answers = await node.exchange(*bad, good)
    assert [(answer.closed, answer.granted_units) for answer in answers] == [(True, 0)] * 7 + [(False, 100)]
    assert (await kit.read_account()).leased_nanos == 200
    await kit.assert_conserved()


async def test_consumption_on_a_deleted_service_counts(kit: Kit) -> None:
    """After a deletion a lease goes on to be settled, but grows no more; a new one is closed at once."""
    service, node = await kit.service(postpaid=True), await kit.node()
    await node.exchange_one(service, MONEY, wanted_units=1_000)
    await kit.change(service, delete_us=kit.now_us)
    answer = await node.exchange_one(service, MONEY, consumed_units=400, held_units=600, wanted_units=5_000)
    assert (answer.granted_units, answer.closed) == (1_000, False)
    late = node.state(service, MONEY, consumed_units=50)
    (answer,) = await node.exchange(replace(late, statement=replace(late.statement, lease_id="new")))
    assert (answer.granted_units, answer.closed) == (0, True)
    assert (await kit.read_account()).spent_nanos == 450
    await kit.assert_conserved()


async def test_a_node_that_lags_behind_is_not_renewed(kit: Kit) -> None:
    """Three seconds after a change, a node that has not acknowledged it gets nothing more until it has."""
    service, node = await kit.service(postpaid=True), await kit.node()
    await kit.feed.poll()
    async with kit.database.writing() as tx:
        version = await tx.next_config_version()
    await kit.feed.poll()
    for _ in range(29):
        kit.clock.advance(us=100_000)
        await kit.feed.poll()
    await node.exchange(acknowledged=version - 1)
    kit.clock.advance(us=100_000)
    with pytest.raises(RefusedError) as caught:
        await node.exchange(node.state(service, MONEY, wanted_units=100), acknowledged=version - 1)
    assert caught.value.reason is Reason.CONFIG_STALE
    assert (await kit.read_account()).leased_nanos == 0
    await node.exchange(acknowledged=version)


async def test_another_metering_database_is_refused(kit: Kit) -> None:
    """The first database that a node names is the fleet's."""
    await kit.node()
    with pytest.raises(RefusedError) as caught:
        await kit.registration.register("node-b", 1, "another")
    assert caught.value.reason is Reason.METERING_DATABASE_MISMATCH
    assert caught.value.metadata == {"expected": METERING_DATABASE, "actual": "another"}
