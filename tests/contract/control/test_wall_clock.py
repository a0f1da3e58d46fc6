"""Terms and prices go by the control service's wall clock; one that was ahead for a while leaves nothing behind."""

import pytest

from control_service.domain.event import EventCause
from control_service.domain.status import Status
from control_service.storage.database import SqlDatabase
from control_service.usecases.sweep import Sweeper
from tests.contract.control.desk import RESERVED, Desk
from tests.contract.control.fleet_kit import Kit

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
    """A process that starts looks once whether another had been ahead."""
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
    """Nodes are told of the price in force again, and of the next one when its time has come."""
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


@pytest.mark.parametrize("step_us", [-1_000_000, 0, 1_000_000, HOUR_US])
async def test_small_steps_and_steps_ahead_look_for_nothing(kit: Kit, step_us: int) -> None:
    """What is found by looking at all services is looked for only when there is a reason to."""
    looked = 0

    class Counting(SqlDatabase):
        def writing(self):  # type: ignore[no-untyped-def]  # noqa: ANN202  # as it is
            nonlocal looked
            looked += 1
            return super().writing()

    counting = Counting(kit.database._engine)
    sweeper = Sweeper(counting, kit.clock, kit.changes, kit.memory.sightings, kit.latch)
    await sweeper.tick()
    before = looked
    kit.clock.jump(us=step_us)
    await sweeper.tick()
    assert looked == before


async def test_what_nothing_is_wrong_with_is_left_alone(desk: Desk) -> None:
    """A look that finds nothing changes nothing: no event, no new configuration."""
    await desk.pay(1_000_000)
    await desk.create()
    await desk.buy(RESERVED)
    async with desk.database.reading() as tx:
        version = await tx.config_version()
    await Kit(desk.database, desk.clock).sweeper.tick()
    async with desk.database.reading() as tx:
        assert await tx.config_version() == version
