"""Exchanges about a free trial: when it counts as used up, and when it ends."""

from control_service.domain.event import EventCause
from control_service.domain.pot import PotKind
from control_service.domain.recall import Availability
from control_service.domain.status import Status, StopReason
from tests.harness.control.fleet_harness import Kit

TRIAL = PotKind.TRIAL
SMALLEST = 16


async def test_a_trial_is_exhausted_when_less_than_the_smallest_request_is_left_and_nothing_held(kit: Kit) -> None:
    """As long as a request holds any of it the trial is not used up; then the service stops, with one event."""
    service, node = await kit.service(trial_tokens=1_000), await kit.node()
    await node.exchange_one(service, TRIAL, needed_units=1_000)
    left = SMALLEST - 1
    await node.exchange_one(service, TRIAL, consumed_units=1_000 - left, held_units=left)
    assert (await kit.read_service(service)).told_status is Status.RUNNING
    await node.exchange_one(service, TRIAL, consumed_units=1_000 - left)
    stopped = await kit.read_service(service)
    assert stopped.told_status is Status.STOPPED
    assert stopped.told_stop_reasons == {StopReason.TRIAL_EXHAUSTED}
    assert [event.origin.cause for event in await kit.events(service)][1:] == [EventCause.TRIAL_EXHAUSTED]
    await kit.assert_conserved(service)


async def test_a_trial_with_enough_left_for_the_smallest_request_is_not_exhausted(kit: Kit) -> None:
    """Sixteen tokens left are enough."""
    service, node = await kit.service(trial_tokens=1_000), await kit.node()
    await node.exchange_one(service, TRIAL, needed_units=1_000)
    await node.exchange_one(service, TRIAL, consumed_units=1_000 - SMALLEST)
    assert (await kit.read_service(service)).told_status is Status.RUNNING


async def test_what_another_node_holds_keeps_a_trial_alive(kit: Kit) -> None:
    """Held is the sum of all nodes' last statements."""
    service, first, second = await kit.service(trial_tokens=100), await kit.node("node-a"), await kit.node("node-b")
    await first.exchange_one(service, TRIAL, needed_units=90)
    await second.exchange_one(service, TRIAL, needed_units=10)
    await second.exchange_one(service, TRIAL, held_units=10)
    await first.exchange_one(service, TRIAL, consumed_units=90)
    assert (await kit.read_service(service)).told_status is Status.RUNNING
    await second.exchange_one(service, TRIAL, returned_units=10)
    assert (await kit.read_service(service)).told_status is Status.STOPPED
    await kit.assert_conserved(service)


async def test_an_exhausted_trial_of_a_postpaid_service_ends_without_a_stop(kit: Kit) -> None:
    """With pay-as-you-go enabled the service runs on; nodes are notified that the trial no longer pays."""
    service, node = await kit.service(trial_tokens=100, postpaid=True), await kit.node()
    await node.exchange_one(service, TRIAL, needed_units=100)
    before = await kit.read_service(service)
    await node.exchange_one(service, TRIAL, consumed_units=100)
    after = await kit.read_service(service)
    assert after.told_status is Status.RUNNING
    assert after.config_version > before.config_version
    assert len(await kit.events(service)) == 1


async def test_an_expired_trial_grants_nothing_even_before_anybody_noticed(kit: Kit) -> None:
    """Expiry is judged by control's clock in each exchange, not by when the sweeper comes by."""
    service, node = await kit.service(trial_tokens=100, trial_for_us=1_000_000), await kit.node()
    kit.clock.advance(1)
    answer = await node.exchange_one(service, TRIAL, needed_units=10)
    assert (answer.granted_units, answer.availability) == (0, Availability.EMPTY)


async def test_the_sweeper_ends_a_trial_in_time(kit: Kit) -> None:
    """An expired trial stops its service, once, with one event."""
    service = await kit.service(trial_tokens=100, trial_for_us=1_000_000)
    await kit.sweeper.tick()
    assert (await kit.read_service(service)).told_status is Status.RUNNING
    kit.clock.advance(1)
    await kit.sweeper.tick()
    await kit.sweeper.tick()
    assert (await kit.read_service(service)).told_stop_reasons == {StopReason.TRIAL_EXPIRED}
    assert [event.origin.cause for event in await kit.events(service)][1:] == [EventCause.TRIAL_EXPIRED]


async def test_consumption_on_a_stopped_service_still_counts(kit: Kit) -> None:
    """What a node settles after the stop is spent; it gets nothing more."""
    service, node = await kit.service(trial_tokens=100, trial_for_us=1_000_000), await kit.node()
    await node.exchange_one(service, TRIAL, needed_units=50)
    kit.clock.advance(1)
    await kit.sweeper.tick()
    answer = await node.exchange_one(service, TRIAL, consumed_units=50, needed_units=10)
    assert answer.granted_units == 50
    assert not answer.closed
    trial = (await kit.read_service(service)).trial
    assert trial is not None
    assert trial.spent_tokens == 50
    await kit.assert_conserved(service)
