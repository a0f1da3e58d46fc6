"""Terms and prices go by the control service's wall clock; one that was ahead for a while leaves nothing behind."""

import pytest

from control_service.domain.event import EventCause
from control_service.domain.status import Status, StopReason
from control_service.storage.database import SqlDatabase
from control_service.usecases.upkeep.sweeper import Sweeper
from tests.harness.control.fleet_harness import Kit, read
from tests.harness.control.people_harness import RESERVED, Desk

HOUR_US = 3_600_000_000
DAY_US = 24 * HOUR_US


async def test_a_trial_that_ended_by_a_clock_ahead_is_usable_again(kit: Kit) -> None:
    """And ends for good when its time is really over; each is an event."""
    service = await kit.service(trial_tokens=1_000, trial_for_us=HOUR_US)
    await kit.sweeper.tick()
    kit.clock.jump(us=2 * HOUR_US)
    await kit.sweeper.tick()
    assert (await kit.read_service(service)).told_status is Status.STOPPED
    kit.clock.jump(us=-2 * HOUR_US)
    await kit.sweeper.tick()
    assert (await kit.read_service(service)).told_status is Status.RUNNING
    kit.clock.advance(us=HOUR_US)
    await kit.sweeper.tick()
    assert (await kit.read_service(service)).told_status is Status.STOPPED
    causes = [event.origin.cause for event in await kit.events(service)]
    assert causes[-3:] == [EventCause.TRIAL_EXPIRED, EventCause.CLOCK_SET_BACK, EventCause.TRIAL_EXPIRED]


async def test_a_clock_that_was_ahead_before_a_restart_is_put_right_too(kit: Kit) -> None:
    """A process that starts checks once whether another one's clock had been ahead."""
    service = await kit.service(trial_tokens=1_000, trial_for_us=HOUR_US)
    kit.clock.jump(us=2 * HOUR_US)
    await kit.sweeper.tick()
    kit.clock.jump(us=-2 * HOUR_US)
    await Kit(kit.database, kit.clock).sweeper.tick()
    assert (await kit.read_service(service)).told_status is Status.RUNNING


async def test_a_reservation_that_ended_by_a_clock_ahead_goes_on(kit: Kit) -> None:
    """Its service runs again, and its end is awaited again."""
    service = await kit.service(output_tpm=1_000)
    await kit.sweeper.tick()
    kit.clock.jump(us=2 * DAY_US)
    await kit.sweeper.tick()
    assert (await kit.read_service(service)).told_status is Status.STOPPED
    kit.clock.jump(us=-2 * DAY_US)
    await kit.sweeper.tick()
    found = await kit.read_service(service)
    assert (found.told_status, found.next_due_us) == (Status.RUNNING, kit.now_us + DAY_US)


async def test_a_price_that_took_effect_by_a_clock_ahead_is_awaited_again(desk: Desk) -> None:
    """Nodes are notified of the price in force again, and of the next one when its time has come."""
    await desk.publish_price()
    await desk.publish_price(desk.now_us + HOUR_US)
    kit = Kit(desk.database, desk.clock)
    await kit.sweeper.tick()
    desk.clock.jump(us=2 * HOUR_US)
    await kit.sweeper.tick()
    desk.clock.jump(us=-2 * HOUR_US)
    await kit.sweeper.tick()
    async with desk.database.reading() as tx:
        assert (await tx.models.get("llama")).next_due_us == desk.now_us + HOUR_US


async def test_without_a_price_in_force_money_does_not_pay(desk: Desk) -> None:
    """A clock set back past the first price: stopped, and running again when its time has come; each is an event."""
    await desk.publish_price()
    await desk.pay(1_000_000)
    await desk.create()
    await desk.enable()
    await desk.fleet_knows()
    kit = Kit(desk.database, desk.clock)
    watcher = kit.feed.open("node-a", 1)
    await kit.sweeper.tick()
    desk.clock.jump(us=-HOUR_US)
    derived = (await desk.show()).derived
    assert derived.stop_reasons == {StopReason.NO_PRICE}
    assert derived.status is Status.STOPPED
    await kit.feed.subscribe(watcher, ["accounts/acme/services/chat"])
    (config,) = (await read(watcher)).services
    assert config.terms is not None
    assert config.terms.stop_reasons == {StopReason.NO_PRICE}
    assert config.terms.price is None
    assert not config.terms.payers.postpaid
    for _ in range(3):
        await kit.sweeper.tick()
    desk.clock.advance(us=HOUR_US)
    for _ in range(3):
        await kit.sweeper.tick()
    await kit.feed.poll()
    (config,) = (await read(watcher)).services
    assert config.terms is not None
    assert config.terms.status is Status.RUNNING
    events = await desk.events()
    assert [(event.origin.cause, set(event.new_stop_reasons)) for event in events[-2:]] == [
        (EventCause.CLOCK_SET_BACK, {StopReason.NO_PRICE}),
        (EventCause.PRICE_TOOK_EFFECT, set()),
    ]


async def test_nodes_are_notified_of_a_clock_set_back_past_a_price(desk: Desk) -> None:
    """Nodes that follow the service are notified, and no lease is granted, whether or not they were."""
    await desk.publish_price()
    await desk.pay(1_000_000)
    await desk.create()
    await desk.enable()
    await desk.fleet_knows()
    kit = Kit(desk.database, desk.clock)
    await kit.sweeper.tick()
    watcher = kit.feed.open("node-a", 1)
    await kit.feed.subscribe(watcher, ["accounts/acme/services/chat"])
    (config,) = (await read(watcher)).services
    assert config.terms is not None
    assert config.terms.status is Status.RUNNING
    desk.clock.jump(us=-HOUR_US)
    for _ in range(2):
        await kit.sweeper.tick()
    await kit.feed.poll()
    (config,) = (await read(watcher)).services
    assert config.terms is not None
    assert (config.terms.status, config.terms.price) == (Status.STOPPED, None)


async def set_back_before_its_price(desk: Desk) -> Kit:
    """A service that runs, and then a clock that is set back a day, when its model had no price yet."""
    await desk.publish_price()
    await desk.create()
    await desk.enable()
    await desk.fleet_knows()
    kit = Kit(desk.database, desk.clock)
    await kit.sweeper.tick()
    desk.clock.jump(us=-DAY_US)
    return kit


async def test_a_price_published_for_later_lets_services_run_from_then_on(desk: Desk) -> None:
    """A clock that was set back, and a price that is published by it: at once, or for an hour later."""
    kit = await set_back_before_its_price(desk)
    await kit.sweeper.tick()
    await desk.publish_price(desk.now_us + HOUR_US)
    await kit.sweeper.tick()
    assert (await desk.show()).derived.stop_reasons == {StopReason.NO_PRICE}
    desk.clock.advance(us=HOUR_US)
    assert (await desk.show()).derived.status is Status.RUNNING
    await kit.sweeper.tick()
    assert (await desk.events())[-1].origin.cause is EventCause.PRICE_TOOK_EFFECT


async def test_a_price_published_at_once_ends_the_stop_at_once(desk: Desk) -> None:
    """PublishPrice is the remedy, and the event follows with the sweeper's next tick."""
    kit = await set_back_before_its_price(desk)
    for _ in range(2):
        await kit.sweeper.tick()
    assert (await desk.events())[-1].new_stop_reasons == {StopReason.NO_PRICE}
    await desk.publish_price()
    assert (await desk.show()).derived.status is Status.RUNNING
    await kit.sweeper.tick()
    assert (await desk.events())[-1].origin.cause is EventCause.PRICE_TOOK_EFFECT
    async with desk.database.reading() as tx:
        version = await tx.config_version()
    await kit.sweeper.tick()
    async with desk.database.reading() as tx:
        assert await tx.config_version() == version


@pytest.mark.parametrize("step_us", [-1_000_000, 0, 1_000_000, HOUR_US])
async def test_small_steps_and_steps_ahead_scan_nothing(kit: Kit, step_us: int) -> None:
    """Services are scanned for missed changes only when there is a reason to."""
    writes = 0

    class Counting(SqlDatabase):
        def writing(self):  # type: ignore[no-untyped-def]  # noqa: ANN202  # as it is
            nonlocal writes
            writes += 1
            return super().writing()

    counting = Counting(kit.database._engine)
    sweeper = Sweeper(counting, kit.clock, kit.changes, kit.memory.liveness, kit.activation, pulse=kit.pulse)
    await sweeper.tick()
    before = writes
    kit.clock.jump(us=step_us)
    await sweeper.tick()
    assert writes == before


async def test_what_nothing_is_wrong_with_is_left_alone(desk: Desk) -> None:
    """A scan that finds nothing changes nothing: no event, no new configuration."""
    await desk.pay(1_000_000)
    await desk.create()
    await desk.buy(RESERVED)
    async with desk.database.reading() as tx:
        version = await tx.config_version()
    await Kit(desk.database, desk.clock).sweeper.tick()
    async with desk.database.reading() as tx:
        assert await tx.config_version() == version
