"""The configuration feed and the fleet's activation, without a wire: levels, slow readers, several processes."""

from dataclasses import replace

import pytest

from control_service.api.fleet_codec import encode_update
from control_service.domain.errors import Reason, RefusedError
from control_service.domain.payers import Resolution
from control_service.domain.pot import PotKind
from control_service.domain.status import Status
from control_service.usecases.fleet.config_feed import POLL_S
from control_service.usecases.fleet.watcher import SERVICES_PER_UPDATE, Update, Watcher
from tallygate.control.v1 import config_pb2
from tests.harness.control.fleet_harness import Kit, price, read

MONEY = PotKind.MONEY
SERVICE = "accounts/acme/services/chat"


async def watching(kit: Kit, *names: str, node: str = "node-a") -> Watcher:
    """A watcher that follows these names and has sent their configurations."""
    await kit.registration.register(node, 1, "metering-database")
    await kit.feed.poll()
    watcher = kit.feed.open(node, 1)
    await kit.feed.subscribe(watcher, names)
    await read(watcher)
    return watcher


async def test_a_slow_reader_gets_the_latest_only(kit: Kit) -> None:
    """After many changes that nobody read, one message has the latest state."""
    service = await kit.service(postpaid=True)
    slow, quick = await watching(kit, SERVICE), await watching(kit, SERVICE, node="node-b")
    for suspended in (True, False, True):
        await kit.change(service, suspended=suspended)
        await kit.feed.poll()
        (config,) = (await read(quick)).services
        assert config.terms is not None
        assert config.terms.status is (Status.STOPPED if suspended else Status.RUNNING)
    update = await read(slow)
    (config,) = update.services
    assert config.terms is not None
    assert config.terms.status is Status.STOPPED
    assert update.version == config.version


async def test_a_version_is_reached_when_all_of_it_was_sent(kit: Kit) -> None:
    """Where a message cannot hold all that changed, only the last one carries the version."""
    names = [f"accounts/acme/services/s{number}" for number in range(SERVICES_PER_UPDATE + 1)]
    await kit.feed.poll()
    watcher = kit.feed.open("node-a", 1)
    await kit.feed.subscribe(watcher, names)
    first, second = await read(watcher), await read(watcher)
    assert (len(first.services), len(second.services)) == (SERVICES_PER_UPDATE, 1)
    assert first.version < second.version


async def test_nothing_is_sent_twice(kit: Kit) -> None:
    """A change elsewhere moves the version and brings no service."""
    await kit.service(postpaid=True)
    watcher = await watching(kit, SERVICE)
    await kit.service("code", postpaid=True)
    await kit.feed.poll()
    update = await read(watcher)
    assert update.services == ()
    assert update.version == watcher.version_sent


async def test_a_change_in_another_process_is_found_by_polling(kit: Kit) -> None:
    """A second process over the same database finds changes and recalls by polling, within a second."""
    assert POLL_S < 1
    other = Kit(kit.database)
    service = await kit.service(postpaid=True)
    watcher = await watching(other, SERVICE)
    await kit.change(service, suspended=True)
    await other.feed.poll()
    assert len((await read(watcher)).services) == 1
    await kit.change(service, suspended=False)
    here, there = await kit.node("node-b"), await kit.node("node-a")
    await there.exchange_one(service, MONEY, needed_units=1_000_000)
    await here.exchange_one(service, MONEY, needed_units=10)
    await other.feed.poll()
    assert (await read(watcher)).recalled_lease_ids == (there.lease_id(service, MONEY),)
    await other.feed.poll()
    assert (await read(watcher)).recalled_lease_ids == ()


async def test_a_name_comes_into_existence_and_goes(kit: Kit) -> None:
    """UNKNOWN, FOUND, DELETED: a node that follows a name receives all three."""
    watcher = await watching(kit, SERVICE)
    service = await kit.service(postpaid=True)
    await kit.feed.poll()
    (config,) = (await read(watcher)).services
    assert config.resolution is Resolution.FOUND
    await kit.change(service, delete_us=kit.now_us)
    await kit.feed.poll()
    (config,) = (await read(watcher)).services
    assert config.resolution is Resolution.DELETED


async def test_a_node_that_never_knew_a_deleted_service_can_settle_what_it_did(kit: Kit) -> None:
    """A tombstone's configuration has the uid and the price in force; nothing pays, not even with debt."""
    service = await kit.service(postpaid=True, trial_tokens=1_000)
    async with kit.database.writing() as tx:
        await tx.models.add_price(price(1, kit.now_us))
    await kit.change(service, delete_us=kit.now_us)
    await kit.feed.poll()
    watcher = kit.feed.open("node-a", 1)
    await kit.feed.subscribe(watcher, [SERVICE])
    (config,) = (await read(watcher)).services
    message = encode_update(Update(1, (config,), (), ()), 0, 0).services[0]
    assert message.resolution == config_pb2.RESOLUTION_DELETED
    assert (message.uid, message.price.version, message.debt_allowed) == (service.uid, 1, False)
    assert not any((message.reservation_pays, message.trial_pays, message.postpaid_pays))


async def test_a_default_service_comes_with_its_account(kit: Kit) -> None:
    """Services that are computed come into existence when their account does."""
    name = "accounts/late/services/default-llama"
    watcher = await watching(kit, name)
    await kit.account("late")
    await kit.feed.poll()
    (config,) = (await read(watcher)).services
    assert config.resolution is Resolution.FOUND


async def test_how_much_an_answer_may_have_is_told_when_it_changes(kit: Kit) -> None:
    """Nodes hold whole answers by it."""
    await kit.service(postpaid=True)
    watcher = await watching(kit, SERVICE)
    async with kit.database.writing() as tx:
        model = await tx.models.get("llama")
        version = await tx.next_config_version()
        await tx.models.save(
            replace(model, output_tokens_max=8_192, whole_output_tokens_default=512, config_version=version)
        )
    await kit.feed.poll()
    (config,) = encode_update(await read(watcher), 0, 0).services
    assert (config.output_tokens_max, config.whole_output_tokens_default) == (8_192, 512)


async def test_a_price_is_told_when_it_takes_effect(kit: Kit) -> None:
    """The sweeper moves the version at the moment at which a price published in advance is in force."""
    await kit.service(postpaid=True)
    async with kit.database.writing() as tx:
        await tx.models.add_price(price(1, kit.now_us))
        await tx.models.add_price(price(2, kit.now_us + 60_000_000))
        model = await tx.models.get("llama")
        await tx.models.save(replace(model, price_count=2, next_due_us=kit.now_us + 60_000_000))
    watcher = await watching(kit, SERVICE)
    kit.clock.advance(60)
    await kit.sweeper.tick()
    await kit.sweeper.tick()
    await kit.feed.poll()
    (config,) = (await read(watcher)).services
    assert config.terms is not None
    assert config.terms.price is not None
    assert config.terms.price.version == 2


async def test_a_frozen_node_holds_an_activation_up_for_three_seconds_at_most(kit: Kit) -> None:
    """After that it is not live, and the sweeper ends the activation; once and for all."""
    frozen, awake = await watching(kit, node="node-a"), await watching(kit, node="node-b")
    service = await kit.service(postpaid=True, fleet_told=False)
    await kit.feed.poll()
    for _ in range(2):
        update = await read(awake)
        kit.acknowledgements.receive(awake, update.version)
        await kit.acknowledgements.flush()
        await kit.sweeper.tick()
        assert (await kit.read_service(service)).told_status is Status.ACTIVATING
        kit.clock.advance(1)
    kit.acknowledgements.receive(awake, awake.version_sent)
    await kit.acknowledgements.flush()
    for _ in range(2):
        await kit.sweeper.tick()
        kit.clock.advance(1)
    await kit.sweeper.tick()
    assert (await kit.read_service(service)).told_status is Status.RUNNING
    assert frozen.version_sent < awake.version_sent
    await kit.change(await kit.read_service(service), suspended=True)
    assert (await kit.change(await kit.read_service(service), suspended=False)).told_status is Status.RUNNING


async def test_a_node_cannot_acknowledge_what_it_was_not_sent(kit: Kit) -> None:
    """A version later than the one that the stream has sent counts as the one sent."""
    watcher = await watching(kit)
    service = await kit.service(postpaid=True, fleet_told=False)
    kit.acknowledgements.receive(watcher, 10**18)
    await kit.acknowledgements.flush()
    assert (await kit.read_service(service)).told_status is Status.ACTIVATING


async def test_an_epoch_that_was_fenced_in_another_process_loses_its_stream(kit: Kit) -> None:
    """Its next acknowledgement finds the newer epoch in the database."""
    watcher = await watching(kit)
    await Kit(kit.database).registration.register("node-a", 2, "metering-database")
    kit.acknowledgements.receive(watcher, watcher.version_sent)
    await kit.acknowledgements.flush()
    with pytest.raises(RefusedError) as caught:
        await watcher.next(0.001)
    assert caught.value.reason is Reason.NODE_FENCED


async def test_a_service_whose_pot_got_something_back_is_asked_for_again(kit: Kit) -> None:
    """A node with a recent shortage is notified when something comes back; a node without one is not."""
    chat, code = await kit.service("chat", postpaid=True), await kit.service("code", postpaid=True)
    watcher = await watching(kit, SERVICE)
    first, second = await kit.node("node-a"), await kit.node("node-b")
    await first.exchange_one(chat, MONEY, needed_units=1_000_000)
    await second.exchange_one(code, MONEY, needed_units=10)
    with kit.changes.listening() as listener:
        await first.exchange_one(chat, MONEY, returned_units=500_000)
        await kit.feed.poll(await listener.wait())
    assert (await read(watcher)).replenished_service_uids == (code.uid,)
    with kit.changes.listening() as listener:
        await first.exchange_one(chat, MONEY, returned_units=600_000)
        await kit.feed.poll(await listener.wait())
    assert (await read(watcher)).replenished_service_uids == ()


async def test_what_nobody_follows_is_forgotten(kit: Kit) -> None:
    """When streams end, or no longer follow a name, nothing of it is kept."""
    names = [SERVICE, "accounts/nobody/services/default-llama", "nonsense"]
    first, second = await watching(kit, *names), await watching(kit, *names, node="node-b")
    kit.feed.unsubscribe(first, names)
    kit.feed.close(first)
    assert len(kit.feed._latest) == len(names)
    kit.feed.close(second)
    assert (kit.feed._latest, kit.feed._unresolved, kit.feed._watchers) == ({}, set(), {})
