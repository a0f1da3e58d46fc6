"""Several replicas over one database, each with connections, memory and clocks of its own."""

from collections.abc import AsyncIterator
from dataclasses import replace

import pytest
from sqlalchemy.ext.asyncio import AsyncEngine

from control_service.domain.account import Account
from control_service.domain.errors import SupersededError
from control_service.domain.pot import PotKind
from control_service.domain.recall import Availability
from control_service.domain.status import Status
from control_service.storage.database import SqlDatabase
from control_service.usecases.fleet.watcher import Watcher
from tallygate._server.clock import ManualClock
from tallygate._server.database.engine import create_engine
from tests.harness.control.fleet_harness import Kit

MONEY, TRIAL = PotKind.MONEY, PotKind.TRIAL
HOUR_US = 3_600_000_000


@pytest.fixture
async def other_engine(database_url: str) -> AsyncIterator[AsyncEngine]:
    """Connections of another process."""
    engine = create_engine(database_url)
    yield engine
    await engine.dispose()


@pytest.fixture(params=[0, HOUR_US, -HOUR_US])
def other(request: pytest.FixtureRequest, kit: Kit, other_engine: AsyncEngine) -> Kit:
    """Another replica, whose wall clock may be an hour off."""
    return Kit(SqlDatabase(other_engine), ManualClock(kit.now_us + request.param, monotonic_ns=10**12))


async def replenished(kit: Kit, watcher: Watcher) -> tuple[str, ...]:
    """A node is notified of an ended shortage with its replica's next poll, ten times a second."""
    await kit.feed.poll()
    update = await watcher.next(0.001)
    assert update is not None
    return update.replenished_service_uids


async def save(kit: Kit, account: Account) -> None:
    async with kit.database.writing() as tx:
        await tx.accounts.lock(account.account_id)
        await tx.accounts.save(account)


async def test_who_waits_at_one_replica_hears_of_what_came_back_at_the_other(kit: Kit, other: Kit) -> None:
    """Money or trial: with its replica's next poll, once, and not while there is no more than at the shortage."""
    service = await kit.service(postpaid=True, trial_tokens=1_000)
    here, there = await kit.node("node-a"), await other.node("node-b")
    watcher = other.feed.open("node-b", 1)
    for kind, all_units, back_units in ((MONEY, 1_000_000, 2_000), (TRIAL, 1_000, 100)):
        await here.exchange_one(service, kind, needed_units=all_units)
        assert (await there.exchange_one(service, kind, needed_units=10)).availability is Availability.RECALLING
        assert await replenished(other, watcher) == ()
        await here.exchange_one(service, kind, returned_units=back_units)
        assert await replenished(other, watcher) == (service.uid,)
        assert await replenished(other, watcher) == ()
        assert (await there.exchange_one(service, kind, needed_units=10)).granted_units == 10
        answer = await there.exchange_one(service, kind, needed_units=all_units, held_units=10)
        assert answer.granted_units == back_units
        assert await replenished(other, watcher) == ()


async def test_money_that_is_paid_in_at_one_replica_is_heard_of_at_the_other(kit: Kit, other: Kit) -> None:
    """A top-up frees nothing that was on lease, and still there is more."""
    service = await kit.service(postpaid=True, trial_tokens=1_000)
    there = await other.node("node-b")
    watcher = other.feed.open("node-b", 1)
    await there.exchange_one(service, MONEY, needed_units=2_000_000)
    assert await replenished(other, watcher) == ()
    account = await kit.read_account()
    await save(kit, replace(account, funds_nanos=account.funds_nanos + 500_000))
    assert await replenished(other, watcher) == (service.uid,)


async def test_a_recall_is_waited_for_by_whoever_asks(kit: Kit, other: Kit) -> None:
    """The other replica notifies its node, and both wait for the return on their own clocks."""
    service = await kit.service(postpaid=True)
    here, there = await kit.node("node-a"), await other.node("node-b")
    watcher = other.feed.open("node-b", 1)
    await there.exchange_one(service, MONEY, needed_units=1_000_000)
    assert (await here.exchange_one(service, MONEY, needed_units=10)).availability is Availability.RECALLING
    await other.feed.poll()
    update = await watcher.next(0.001)
    assert update is not None
    assert update.recalled_lease_ids == (there.lease_id(service, MONEY),)
    third = await other.node("node-c")
    assert (await third.exchange_one(service, MONEY, needed_units=10)).availability is Availability.RECALLING
    for replica in (kit, other):
        replica.clock.advance(us=200_000)
    assert (await here.exchange_one(service, MONEY, needed_units=10)).availability is Availability.EMPTY
    assert (await third.exchange_one(service, MONEY, needed_units=10)).availability is Availability.EMPTY


async def test_an_activation_waits_for_the_nodes_of_all_replicas(kit: Kit, other: Kit) -> None:
    """And ends, at whichever replica the last one acknowledges, however their clocks differ."""
    service = await kit.service(postpaid=True, fleet_told=False)
    watchers = []
    for replica, name in ((kit, "node-a"), (other, "node-b")):
        await replica.node(name)
        await replica.sweeper.tick()
        watchers.append((replica, replica.feed.open(name, 1)))
    for number, (replica, watcher) in enumerate(watchers):
        assert (await kit.read_service(service)).told_status is Status.ACTIVATING, number
        await replica.feed.poll()
        await watcher.next(0.001)
        replica.acknowledgements.receive(watcher, watcher.version_sent)
        await replica.acknowledgements.flush()
    assert (await kit.read_service(service)).told_status is Status.RUNNING


async def test_exchanges_may_alternate_between_replicas(kit: Kit, other: Kit) -> None:
    """Numbers and counters are the database's: a repeat at the other replica is one, and nothing counts twice."""
    service = await kit.service(postpaid=True)
    node = await kit.node()
    for number in range(1, 11):
        node.kit = kit if number % 2 else other
        await node.exchange_one(service, MONEY, consumed_units=(number - 1) * 100, needed_units=100)
        node.kit = other if number % 2 else kit
        with pytest.raises(SupersededError):
            await node.exchange(node.state(service, MONEY, consumed_units=10**9), number=number)
    account = await kit.read_account()
    assert (account.spent_nanos, account.leased_nanos) == (900, 100)
    await kit.assert_conserved()


async def test_a_reservation_gives_what_accrues_whoever_is_asked(kit: Kit, other: Kit) -> None:
    """Replicas that take turns make up no time, and lose none once both have polled."""
    service = await kit.service(output_tpm=6_000)
    node = await kit.node()
    used = 0
    for number in range(60):
        node.kit = kit if number % 2 else other
        answer = await node.exchange_one(service, PotKind.RESERVATION_OUTPUT, consumed_units=used, needed_units=6_000)
        used = answer.granted_units
        for replica in (kit, other):
            replica.clock.advance(1)
    # A full minute at the start; a minute of time; and at most one full bucket for the clock that is ahead.
    assert 6_000 + 58 * 100 <= used <= 6_000 + 60 * 100 + 6_000
