"""A row that cannot be read stops what needs it, and nothing else; when it is mended, all goes on by itself."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
from sqlalchemy import text

from control_service.domain.errors import SupersededError
from control_service.domain.pot import PotKind
from control_service.domain.service import Service
from control_service.domain.status import Status
from control_service.storage.database import SqlDatabase
from control_service.storage.transaction import SqlTransaction
from control_service.usecases.fault_isolation import SET_ASIDE_NS
from control_service.usecases.fleet.acknowledgements import Acknowledgements
from control_service.usecases.fleet.config_feed import ConfigFeed
from control_service.usecases.fleet.watcher import Watcher
from control_service.usecases.resolve_credential import NO_CREDENTIALS
from tests.harness.control.fleet_harness import Kit
from tests.harness.patience import PATIENCE_S

MONEY = PotKind.MONEY


async def poison(kit: Kit, service: Service) -> None:
    """As a disk, a bug or a hand might leave it."""
    async with kit.database._engine.begin() as connection:
        spoilt = text("UPDATE services SET postpaid = 'NONSENSE' WHERE service_id = :id")
        await connection.execute(spoilt, {"id": service.service_id})


async def mend(kit: Kit, service: Service) -> None:
    async with kit.database._engine.begin() as connection:
        mended = text("UPDATE services SET postpaid = 'ENABLED' WHERE service_id = :id")
        await connection.execute(mended, {"id": service.service_id})


async def received(kit: Kit, watcher: Watcher) -> set[str]:
    """The names that a node receives after one poll of the feed."""
    await kit.feed.poll()
    update = await watcher.next(0.001)
    assert update is not None
    return {config.name for config in update.services}


async def test_nodes_hear_of_all_services_that_can_be_read(kit: Kit) -> None:
    """Of the one that cannot they keep what they know, until it can be read and something changes."""
    good, bad = await kit.service("good", postpaid=True), await kit.service("bad", postpaid=True)
    watcher = kit.feed.open("node-a", 1)
    await poison(kit, bad)
    await kit.feed.subscribe(watcher, [good.name, bad.name])
    assert await received(kit, watcher) == {good.name}
    await kit.change(good, suspended=True)
    assert await received(kit, watcher) == {good.name}
    assert watcher.version_sent > 0
    await mend(kit, bad)
    await kit.change(good, suspended=False)
    assert await received(kit, watcher) == {good.name, bad.name}


async def test_an_exchange_is_taken_for_all_services_that_can_be_read(kit: Kit) -> None:
    """The node is renewed, and its statements on the others are taken in, once; the poisoned one has no answer."""
    good, bad = await kit.service("good", postpaid=True), await kit.service("bad", postpaid=True)
    node = await kit.node()
    await node.exchange(node.state(good, MONEY, needed_units=100), node.state(bad, MONEY, needed_units=100))
    await poison(kit, bad)
    stated = (node.state(bad, MONEY, consumed_units=40), node.state(good, MONEY, consumed_units=30))
    answers = await node.exchange(*stated)
    assert [answer.lease_id for answer in answers] == [node.lease_id(good, MONEY)]
    assert (await kit.read_account()).spent_nanos == 30
    with pytest.raises(SupersededError):
        await node.exchange(*stated, number=node.exchange_number)
    await mend(kit, bad)
    assert len(await node.exchange(*stated)) == 2
    assert (await kit.read_account()).spent_nanos == 70
    await kit.assert_conserved()


async def test_an_activation_is_not_stopped_by_another(kit: Kit) -> None:
    """One that cannot be read waits for the sweeper, until it is mended; the other is RUNNING at once."""
    bad = await kit.service("a-bad", postpaid=True, fleet_told=False)
    good = await kit.service("good", postpaid=True, fleet_told=False)
    await poison(kit, bad)
    await kit.node()
    watcher = kit.feed.open("node-a", 1)
    await kit.feed.poll()
    await watcher.next(0.001)
    kit.acknowledgements.receive(watcher, watcher.version_sent)
    await kit.acknowledgements.flush()
    assert (await kit.read_service(good)).told_status is Status.RUNNING
    await mend(kit, bad)
    kit.clock.advance(us=SET_ASIDE_NS // 1_000)
    await kit.sweeper.turn()
    assert (await kit.read_service(bad)).told_status is Status.RUNNING


class Fragile(SqlDatabase):
    """The first transaction of each kind fails in a way that nobody thought of."""

    def __init__(self, sound: SqlDatabase) -> None:
        super().__init__(sound._engine)
        self.failed: set[str] = set()
        self.has_failed = asyncio.Event()
        self.went_on = asyncio.Event()

    def _fail_once(self, kind: str) -> None:
        if kind not in self.failed:
            self.failed.add(kind)
            self.has_failed.set()
            raise AssertionError
        self.went_on.set()

    @asynccontextmanager
    async def reading(self) -> AsyncIterator[SqlTransaction]:
        self._fail_once("reading")
        async with super().reading() as tx:
            yield tx

    @asynccontextmanager
    async def writing(self) -> AsyncIterator[SqlTransaction]:
        self._fail_once("writing")
        async with super().writing() as tx:
            yield tx


async def test_a_look_that_fails_is_not_the_feed_s_last(kit: Kit) -> None:
    """Whatever the feed meets, it goes on."""
    fragile = Fragile(kit.database)
    task = asyncio.create_task(
        ConfigFeed(fragile, kit.clock, kit.changes, kit.memory, NO_CREDENTIALS, pulse=kit.pulse).run()
    )
    await _until_it_went_on(fragile, task)


async def test_acknowledgements_that_fail_are_not_the_last(kit: Kit) -> None:
    """Whatever a write of them meets, the next ones are written."""
    fragile = Fragile(kit.database)
    acknowledgements = Acknowledgements(fragile, kit.clock, kit.feed, kit.activation)
    await kit.node()
    watcher = kit.feed.open("node-a", 1)
    task = asyncio.create_task(acknowledgements.run())
    acknowledgements.receive(watcher, 0)
    await fragile.has_failed.wait()
    acknowledgements.receive(watcher, 0)
    await _until_it_went_on(fragile, task)


async def _until_it_went_on(fragile: Fragile, task: asyncio.Task[None]) -> None:
    async with asyncio.timeout(PATIENCE_S):
        await fragile.went_on.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
