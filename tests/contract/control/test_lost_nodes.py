"""Nodes that fall silent: others are requested to settle their leases, when a replica's own clock says so."""

from dataclasses import replace

import pytest

from control_service.domain.errors import Reason, RefusedError
from control_service.domain.node import LOST_AFTER_NS, LostNode
from control_service.domain.pot import PotKind
from control_service.usecases.fleet.exchange_admission import LEFT_BEHIND_MAX
from control_service.usecases.fleet.watcher import Update, Watcher
from tallygate._server.clock import ManualClock
from tests.harness.control.fleet_harness import FleetNode, Kit

MONEY = PotKind.MONEY
LOST_AFTER_S = LOST_AFTER_NS // 1_000_000_000
HOUR_US = 3_600_000_000


async def watch(kit: Kit, *nodes: FleetNode, seconds: int) -> None:
    """These seconds pass, in which these nodes exchange and all replicas poll."""
    for _ in range(seconds):
        for node in nodes:
            await node.exchange()
        kit.clock.advance(1)
        await kit.sweeper.tick()


def lost(kit: Kit) -> tuple[LostNode, ...]:
    return kit.memory.liveness.lost


async def received(kit: Kit, watcher: Watcher) -> Update:
    await kit.feed.poll()
    update = await watcher.next(0.001)
    assert update is not None
    return update


async def test_a_silent_node_with_leases_is_lost_and_its_leases_stay(kit: Kit) -> None:
    """After validity and margin other nodes are notified, not the lost one; its leases stay open for any time."""
    service, silent, other = await kit.service(postpaid=True), await kit.node("node-a"), await kit.node("node-b")
    watcher, own = kit.feed.open("node-b", 1), kit.feed.open("node-a", 1)
    await silent.exchange_one(service, MONEY, needed_units=1_000)
    await kit.sweeper.tick()
    await watch(kit, other, seconds=LOST_AFTER_S - 1)
    assert (await received(kit, watcher)).lost_nodes == ()
    await watch(kit, other, seconds=1)
    assert (await received(kit, watcher)).lost_nodes == (LostNode("node-a", 1),)
    assert (await received(kit, own)).lost_nodes == ()
    await watch(kit, other, seconds=100)
    assert (await kit.read_account()).leased_nanos == 1_000
    await silent.exchange_one(service, MONEY, consumed_units=500, held_units=500)
    await kit.sweeper.tick()
    await kit.feed.poll()
    assert lost(kit) == ()
    assert (await kit.read_account()).leased_nanos == 500


async def test_a_lost_node_is_told_of_again_every_five_seconds(kit: Kit) -> None:
    """A node that was notified may be lost before it is done; a node that connects is notified if it still is then."""
    service, silent = await kit.service(postpaid=True), await kit.node("node-a")
    await silent.exchange_one(service, MONEY, needed_units=1_000)
    await kit.sweeper.tick()
    await watch(kit, seconds=LOST_AFTER_S)
    first = kit.feed.open("node-b", 1)
    counts = []
    for _ in range(11):
        counts.append(len((await received(kit, first)).lost_nodes))
        await watch(kit, seconds=1)
    assert counts == [0, 0, 0, 0, 0, 1, 0, 0, 0, 0, 1]
    second = kit.feed.open("node-c", 1)
    assert (await received(kit, second)).lost_nodes == ()
    await watch(kit, seconds=5)
    assert (await received(kit, second)).lost_nodes == (LostNode("node-a", 1),)


async def test_a_silent_node_without_open_leases_is_not_lost(kit: Kit) -> None:
    """There is nothing to settle; once it has leases again, it may be lost again."""
    service, node = await kit.service(postpaid=True), await kit.node("node-a")
    await node.exchange_one(service, MONEY, needed_units=1_000)
    await node.exchange_one(service, MONEY, closing=True)
    await kit.sweeper.tick()
    await watch(kit, seconds=2 * LOST_AFTER_S)
    assert lost(kit) == ()
    new = node.state(service, MONEY, needed_units=1_000)
    await node.exchange(replace(new, statement=replace(new.statement, lease_id="another")))
    await kit.sweeper.tick()
    await watch(kit, seconds=LOST_AFTER_S)
    assert lost(kit) == (LostNode("node-a", 1),)


async def test_an_exchange_that_was_refused_is_no_sign_of_life_for_leases(kit: Kit) -> None:
    """Whoever does not acknowledge its configuration is not renewed, and in the end others settle for it."""
    service, node = await kit.service(postpaid=True), await kit.node("node-a")
    await node.exchange_one(service, MONEY, needed_units=1_000)
    await kit.feed.poll()
    await kit.sweeper.tick()
    for _ in range(LOST_AFTER_S):
        kit.clock.advance(1)
        await kit.sweeper.tick()
        async with kit.database.writing() as tx:
            await tx.next_config_version()
        await kit.feed.poll()
        if kit.memory.history.expected(kit.clock.monotonic_ns()) > 0:
            with pytest.raises(RefusedError):
                await node.exchange(acknowledged=-1)
    assert lost(kit) == (LostNode("node-a", 1),)


@pytest.mark.parametrize("hours", [-100, -1, 1, 100])
async def test_a_wall_clock_that_jumps_loses_no_node(kit: Kit, hours: int) -> None:
    """Neither the jump nor what was written down before and after it makes anybody silent, or lets one seem live."""
    service, node, silent = await kit.service(postpaid=True), await kit.node("node-a"), await kit.node("node-b")
    await node.exchange_one(service, MONEY, needed_units=1_000)
    await silent.exchange_one(service, MONEY, needed_units=1_000)
    await kit.sweeper.tick()
    await watch(kit, node, seconds=LOST_AFTER_S - 2)
    kit.clock.jump(us=hours * HOUR_US)
    await watch(kit, node, seconds=1)
    assert lost(kit) == ()
    await watch(kit, node, seconds=1)
    assert lost(kit) == (LostNode("node-b", 1),)
    async with kit.database.reading() as tx:
        assert {one.name: kit.memory.liveness.is_live(one) for one in await tx.nodes.every()} == {
            "node-a": True,
            "node-b": False,
        }


async def test_replicas_with_different_clocks_agree_on_who_is_lost(kit: Kit) -> None:
    """One an hour ahead, one an hour behind: a node that exchanges with either is lost to neither."""
    ahead = Kit(kit.database, ManualClock(kit.now_us + HOUR_US))
    behind = Kit(kit.database, ManualClock(kit.now_us - HOUR_US, monotonic_ns=10**15))
    service, node = await kit.service(postpaid=True), await kit.node("node-a")
    await node.exchange_one(service, MONEY, needed_units=1_000)
    for second in range(2 * LOST_AFTER_S):
        for replica in (ahead, behind):
            replica.clock.advance(1)
            await replica.sweeper.tick()
            assert lost(replica) == ()
        node.kit = ahead if second % 2 else behind
        await node.exchange()
    for _ in range(LOST_AFTER_S + 1):
        for replica in (ahead, behind):
            replica.clock.advance(1)
            await replica.sweeper.tick()
    assert lost(ahead) == lost(behind) == (LostNode("node-a", 1),)


async def test_time_in_which_nobody_looked_makes_nobody_silent(kit: Kit) -> None:
    """A process that slept, or could not reach the database, gives nodes their time again."""
    service, node = await kit.service(postpaid=True), await kit.node("node-a")
    await node.exchange_one(service, MONEY, needed_units=1_000)
    await kit.sweeper.tick()
    kit.clock.advance(3_600)
    await kit.sweeper.tick()
    await watch(kit, seconds=LOST_AFTER_S - 2)
    assert lost(kit) == ()
    await watch(kit, seconds=1)
    assert lost(kit) == (LostNode("node-a", 1),)


async def test_what_a_new_epoch_says_is_settled_is_closed(kit: Kit) -> None:
    """A lease that the metering database never knew is closed at what control knows; the new epoch's own stay."""
    service, old = await kit.service(postpaid=True), await kit.node(epoch=1)
    await old.exchange_one(service, MONEY, needed_units=1_000)
    await old.exchange_one(service, MONEY, consumed_units=300, held_units=700)
    new = await kit.node(epoch=2)
    await new.exchange(new.state(service, MONEY, needed_units=50), settled=1)
    assert (await kit.read_account()).leased_nanos == 750
    await new.exchange(settled=2)
    account = await kit.read_account()
    assert (account.spent_nanos, account.leased_nanos) == (300, 50)
    await kit.assert_conserved()


async def test_a_node_that_restarts_all_the_time_leaves_nothing_behind(kit: Kit) -> None:
    """However short its epochs, each settles those before it, and the last has all there is."""
    service = await kit.service(postpaid=True)
    for epoch in range(1, 12):
        node = await kit.node(epoch=epoch)
        await node.exchange_one(service, MONEY, needed_units=100_000)
        kit.clock.advance(5)
        await kit.sweeper.tick()
        await node.exchange(settled=epoch)
        assert (await kit.read_account()).leased_nanos == 100_000
    await kit.assert_conserved()


async def test_nobody_settles_an_epoch_that_runs(kit: Kit) -> None:
    """A settled epoch that is yet to come, or the node's own, closes no lease of the node's own epoch."""
    service, node = await kit.service(postpaid=True), await kit.node(epoch=3)
    await node.exchange_one(service, MONEY, needed_units=1_000)
    await node.exchange(settled=10)
    assert (await kit.read_account()).leased_nanos == 1_000


async def test_many_leases_left_behind_are_closed_in_parts(kit: Kit, monkeypatch: pytest.MonkeyPatch) -> None:
    """No exchange closes more leases than its maximum; the next exchanges close the rest."""
    monkeypatch.setattr("control_service.usecases.fleet.exchange_admission.LEFT_BEHIND_MAX", 3)
    assert LEFT_BEHIND_MAX > 3
    service, old = await kit.service(postpaid=True), await kit.node(epoch=1)
    stated = old.state(service, MONEY, needed_units=10)
    for number in range(7):
        await old.exchange(replace(stated, statement=replace(stated.statement, lease_id=f"lease-{number}")))
    new, leased = await kit.node(epoch=2), []
    for _ in range(4):
        await new.exchange(settled=2)
        leased.append((await kit.read_account()).leased_nanos)
    assert leased == [40, 10, 0, 0]


async def test_an_exchange_in_the_name_of_a_settled_epoch_is_refused(kit: Kit) -> None:
    """The node that takes over a lost one registers its next epoch, which fences the old one."""
    service, lost = await kit.service(postpaid=True), await kit.node(epoch=1)
    await lost.exchange_one(service, MONEY, needed_units=1_000)
    caretaker = await kit.node(epoch=2)
    settled = replace(lost.state(service, MONEY, consumed_units=900, closing=True), epoch=2)
    await caretaker.exchange(settled, settled=2)
    with pytest.raises(RefusedError) as caught:
        await lost.exchange_one(service, MONEY, consumed_units=950)
    assert caught.value.reason is Reason.NODE_FENCED
    assert ((await kit.read_account()).spent_nanos, (await kit.read_account()).leased_nanos) == (900, 0)


@pytest.mark.parametrize("late_units", [0, 1, 100_000, 999_999, 1_000_000, 1_000_001])
async def test_consumption_on_a_closed_lease_counts_to_the_last_unit(kit: Kit, late_units: int) -> None:
    """Consumption stated after a lease was closed is spent, and an account below its limit is overdue."""
    service, node = await kit.service(postpaid=True), await kit.node(epoch=1)
    await node.exchange_one(service, MONEY, needed_units=1_000_000)
    new = await kit.node(epoch=2)
    await new.exchange(settled=2)
    assert (await kit.read_account()).leased_nanos == 0
    answer = await new.exchange(replace(node.state(service, MONEY, consumed_units=late_units), epoch=2))
    assert answer[0].closed
    account = await kit.read_account()
    assert (account.spent_nanos, account.overdue) == (late_units, late_units > 1_000_000)
    await kit.assert_conserved()
