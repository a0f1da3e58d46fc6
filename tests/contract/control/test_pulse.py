"""A replica at rest: what it leaves out, and that nothing which is due or was committed elsewhere is left out."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace

import pytest

from control_service.domain.node import LIVE_NS, LOST_AFTER_NS, LostNode
from control_service.domain.pot import PotKind
from control_service.domain.status import Status
from control_service.storage.database import SqlDatabase
from control_service.storage.transaction import SqlTransaction
from control_service.usecases.fleet.watcher import Watcher
from control_service.usecases.pulse import AGE_MAX_NS, Pulse
from control_service.usecases.service_status import catch_up
from control_service.usecases.upkeep.retention import PERIOD_NS
from control_service.usecases.upkeep.sweeper import OBSERVATION_S, TICK_S
from tests.harness.control.fleet_harness import Kit, price, read
from tests.harness.patience import PATIENCE_S

MONEY = PotKind.MONEY
SERVICE = "accounts/acme/services/chat"
SECOND_US = 1_000_000


class Counted(SqlDatabase):
    """Counts transactions and glances; a test that has counted calls `since`."""

    def __init__(self, database: SqlDatabase) -> None:
        super().__init__(database._engine)
        self.transactions = self.glances = 0

    @asynccontextmanager
    async def reading(self) -> AsyncIterator[SqlTransaction]:
        self.transactions += 1
        async with super().reading() as tx:
            yield tx

    @asynccontextmanager
    async def writing(self) -> AsyncIterator[SqlTransaction]:
        self.transactions += 1
        async with super().writing() as tx:
            yield tx

    async def glance(self):  # type: ignore[no-untyped-def]  # noqa: ANN201  # as it is
        self.glances += 1
        return await super().glance()

    def since(self) -> int:
        """The transactions since the last call."""
        count, self.transactions = self.transactions, 0
        return count


@pytest.fixture
async def resting(kit: Kit) -> Kit:
    """Another replica, of which nothing is due: its first turns are over."""
    replica = Kit(Counted(kit.database), kit.clock)
    await turn(replica)
    await turn(replica)
    counted(replica).since()
    return replica


def counted(replica: Kit) -> Counted:
    database = replica.database
    assert isinstance(database, Counted)
    return database


async def turn(replica: Kit) -> float:
    """What both loops do where their waits are over; how long the sweeper rests."""
    await replica.feed.turn(None)
    return await replica.sweeper.turn()


async def following(replica: Kit, node: str = "node-a") -> Watcher:
    watcher = replica.feed.open(node, 1)
    await replica.feed.subscribe(watcher, [SERVICE])
    await turn(replica)
    await read(watcher)
    counted(replica).since()
    return watcher


async def test_a_replica_at_rest_begins_no_transaction(resting: Kit) -> None:
    """However long nothing happens, but for the purge once a minute."""
    await following(resting)
    for _ in range(PERIOD_NS // 1_000_000_000 - 1):
        resting.clock.advance(1)
        assert await turn(resting) == OBSERVATION_S
    assert counted(resting).since() == 0
    resting.clock.advance(1)
    await turn(resting)
    assert counted(resting).since() > 0


async def test_what_nobody_changed_is_read_only_to_see_that_it_can_be(kit: Kit, resting: Kit) -> None:
    """On SQLite, which tells whether anybody committed; PostgreSQL is asked by one query each time."""
    database, pulse = counted(resting), Pulse(resting.database, resting.clock)
    first = await pulse.look()
    database.glances = 0
    for _ in range(10):
        assert await pulse.look() is first
    has_stamps = database.stamp() is not None
    assert database.glances == (0 if has_stamps else 10)
    resting.clock.advance(us=AGE_MAX_NS // 1_000)
    await pulse.look()
    assert database.glances == (1 if has_stamps else 11)
    await kit.service(postpaid=True)
    assert (await pulse.look()).config_version > first.config_version


async def test_what_another_look_has_found_lately_will_do(kit: Kit, resting: Kit) -> None:
    """So that who need not know at once asks no database that is asked all the time anyway."""
    database, pulse = counted(resting), Pulse(resting.database, resting.clock)
    age_max_ns = 150_000_000
    first = await pulse.look_lately(age_max_ns)
    database.glances = 0
    await kit.service(postpaid=True)
    resting.clock.advance(us=age_max_ns // 1_000 - 1)
    assert await pulse.look_lately(age_max_ns) is first
    assert database.glances == 0
    resting.clock.advance(us=1)
    assert (await pulse.look_lately(age_max_ns)).config_version > first.config_version


async def test_a_commit_of_another_process_is_told_by_the_next_turn(kit: Kit, resting: Kit) -> None:
    """A configuration, and a recall, which is told once."""
    service = await kit.service(postpaid=True)
    watcher = await following(resting)
    await kit.change(service, suspended=True)
    await turn(resting)
    (config,) = (await read(watcher)).services
    assert config.terms is not None
    assert config.terms.status is Status.STOPPED
    await kit.change(service, suspended=False)
    here, there = await kit.node("node-b"), await kit.node("node-a")
    await there.exchange_one(service, MONEY, needed_units=1_000_000)
    await here.exchange_one(service, MONEY, needed_units=10)
    await turn(resting)
    recalled = (await read(watcher)).recalled_lease_ids
    assert recalled == (there.lease_id(service, MONEY),)
    await turn(resting)
    assert (await read(watcher)).recalled_lease_ids == ()


async def test_a_recall_is_told_while_another_is_not_answered(kit: Kit, resting: Kit) -> None:
    """A change that needs money recalls leases, and nothing else that the glance shows is another than before."""
    await kit.account("other", funds=1_000)
    services = [await kit.service(postpaid=True), await kit.service(account_id="other", postpaid=True)]
    silent, awake = await kit.node("node-b"), await kit.node("node-a")
    await silent.exchange_one(services[0], MONEY, needed_units=1_000)
    await awake.exchange_one(services[1], MONEY, needed_units=1_000)
    watcher = await following(resting)
    told = []
    for node, service in ((silent, services[0]), (awake, services[1])):
        resting.clock.advance(us=1_000)
        async with kit.database.writing() as tx:
            await tx.leases.recall([(service.account_id, node.lease_id(service, MONEY))], kit.now_us)
        await turn(resting)
        told.append((await read(watcher)).recalled_lease_ids)
    assert told == [(), (awake.lease_id(services[1], MONEY),)]


async def test_a_stream_that_is_opened_hears_of_older_recalls(kit: Kit, resting: Kit) -> None:
    """Though nobody commits anything after that."""
    service = await kit.service(postpaid=True)
    here, there = await kit.node("node-b"), await kit.node("node-a")
    await there.exchange_one(service, MONEY, needed_units=1_000_000)
    await here.exchange_one(service, MONEY, needed_units=10)
    await turn(resting)
    watcher = resting.feed.open("node-a", 1)
    await turn(resting)
    assert (await read(watcher)).recalled_lease_ids == (there.lease_id(service, MONEY),)


async def test_a_trial_ends_when_it_is_due(kit: Kit, resting: Kit) -> None:
    """The sweeper rests until then, and no longer, also where another process has made it due."""
    service = await kit.service(trial_tokens=1_000, trial_for_us=SECOND_US)
    resting.clock.advance(us=SECOND_US - 200_000)
    assert await turn(resting) == pytest.approx(0.2)
    assert (await kit.read_service(service)).told_status is not Status.STOPPED
    resting.clock.advance(us=200_000)
    assert await turn(resting) == TICK_S
    assert (await kit.read_service(service)).told_status is Status.STOPPED
    assert await turn(resting) == OBSERVATION_S


async def test_an_end_that_comes_nearer_wakes_the_sweeper(kit: Kit, resting: Kit) -> None:
    """Whoever waits is woken by the feed's look at what another process committed."""
    waiting = asyncio.create_task(resting.pulse.wait(PATIENCE_S * 2))
    await asyncio.sleep(0)
    await kit.service(trial_tokens=1_000, trial_for_us=SECOND_US)
    await resting.feed.turn(None)
    async with asyncio.timeout(PATIENCE_S):
        await waiting


async def test_a_price_takes_effect_when_it_is_due(kit: Kit, resting: Kit) -> None:
    """And the feed tells of it."""
    await kit.service(postpaid=True)
    async with kit.database.writing() as tx:
        await tx.models.add_price(price(1, kit.now_us + SECOND_US))
        model = await tx.models.get("llama")
        await tx.models.save(replace(model, price_count=2, next_due_us=kit.now_us + SECOND_US))
    watcher = await following(resting)
    resting.clock.advance(1)
    await turn(resting)
    await turn(resting)
    (config,) = (await read(watcher)).services
    assert config.terms is not None
    assert config.terms.price is not None
    assert config.terms.price.version == 1


async def test_a_node_that_falls_silent_is_lost_though_nobody_commits(kit: Kit, resting: Kit) -> None:
    """Its silence grows by observations, and others are told once its leases have lapsed."""
    service, silent = await kit.service(postpaid=True), await kit.node("node-a")
    await silent.exchange_one(service, MONEY, needed_units=1_000)
    watcher = await following(resting, "node-b")
    for _ in range(2 * LOST_AFTER_NS // 1_000_000_000):
        resting.clock.advance(us=SECOND_US // 2)
        await turn(resting)
    await turn(resting)
    assert (await read(watcher)).lost_nodes == (LostNode("node-a", 1),)
    await silent.exchange_one(service, MONEY, needed_units=1_000)
    await turn(resting)
    assert resting.memory.liveness.lost == ()


async def test_an_activation_ends_when_the_last_silent_node_is_not_live(kit: Kit, resting: Kit) -> None:
    """Nobody commits anything meanwhile, so only the time that passes can end it."""
    await kit.registration.register("node-a", 1, "metering-database")
    await kit.registration.register("node-b", 1, "metering-database")
    service = await kit.service(postpaid=True, fleet_told=False)
    await kit.feed.poll()
    awake = kit.feed.open("node-b", 1)
    for _ in range(LIVE_NS // 500_000_000):
        await turn(resting)
        assert (await kit.read_service(service)).told_status is Status.ACTIVATING
        kit.clock.advance(us=SECOND_US // 2)
        await kit.feed.poll()
        await read(awake)
        kit.acknowledgements.receive(awake, awake.version_sent)
        async with kit.database.writing() as tx:
            await tx.nodes.acknowledge({("node-b", 1): awake.version_sent}, kit.now_us)
    await turn(resting)
    assert (await kit.read_service(service)).told_status is Status.RUNNING


async def test_a_wall_clock_that_is_set_back_is_noticed_at_rest(kit: Kit, resting: Kit) -> None:
    """What a clock ahead had ended too early is made due again."""
    kit.clock.jump(us=-3_600_000_000)
    await turn(resting)
    assert counted(resting).since() > 0


async def test_a_clock_that_was_ahead_only_while_nothing_was_due_is_noticed(kit: Kit, resting: Kit) -> None:
    """Whoever changed a service in that time has ended its trial too early, and left nothing for the sweeper to do."""
    service = await kit.service(trial_tokens=1_000, trial_for_us=60 * SECOND_US)
    await turn(resting)
    resting.clock.jump(us=3_600 * SECOND_US)
    async with kit.database.writing() as tx:
        account = await tx.accounts.lock(service.account_id)
        await catch_up(tx, account, service, kit.now_us)
    assert (await kit.read_service(service)).told_status is Status.STOPPED
    await turn(resting)
    resting.clock.jump(us=-3_600 * SECOND_US)
    await turn(resting)
    await turn(resting)
    assert (await kit.read_service(service)).told_status is Status.RUNNING
