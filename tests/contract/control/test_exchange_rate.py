"""Exchanges about a reservation's rate: tokens already accrued, and when the next ones will have."""

from control_service.domain.event import EventCause
from control_service.domain.pot import PotKind
from control_service.domain.recall import Availability
from control_service.domain.status import StopReason
from tests.harness.control.fleet_harness import Kit

OUTPUT = PotKind.RESERVATION_OUTPUT


async def test_a_rate_is_used_up_and_accrues(kit: Kit) -> None:
    """After the burst is consumed nothing is left; the answer has the time until the units needed have accrued."""
    service, node = await kit.service(output_tpm=600), await kit.node()
    assert (await node.exchange_one(service, OUTPUT, needed_units=600)).granted_units == 600
    answer = await node.exchange_one(service, OUTPUT, consumed_units=600, needed_units=10)
    assert (answer.granted_units, answer.availability) == (600, Availability.EMPTY)
    assert answer.accrues_after_us == 1_000_000
    kit.clock.advance(1)
    answer = await node.exchange_one(service, OUTPUT, consumed_units=600, needed_units=10)
    assert (answer.granted_units, answer.availability) == (610, Availability.AVAILABLE)
    await kit.assert_conserved(service)


async def test_what_never_accrues_is_not_promised(kit: Kit) -> None:
    """More than a minute's worth will never gather."""
    service, node = await kit.service(output_tpm=600), await kit.node()
    answer = await node.exchange_one(service, OUTPUT, needed_units=2_000)
    assert answer.granted_units == 600
    assert answer.accrues_after_us is None


async def test_what_is_leased_counts_against_the_burst(kit: Kit) -> None:
    """Available and leased together never exceed the burst, however long a lease is idle."""
    service, first, second = await kit.service(output_tpm=600), await kit.node("node-a"), await kit.node("node-b")
    await first.exchange_one(service, OUTPUT, needed_units=500)
    kit.clock.advance(3_600)
    answer = await second.exchange_one(service, OUTPUT, needed_units=600)
    assert (answer.granted_units, answer.availability) == (100, Availability.RECALLING)
    await kit.assert_conserved(service)


async def test_the_sweeper_ends_a_reservation_in_time(kit: Kit) -> None:
    """When its term is over the service stops, and its bucket holds nothing any more."""
    service, node = await kit.service(output_tpm=600), await kit.node()
    kit.clock.advance(86_400)
    assert (await node.exchange_one(service, OUTPUT, needed_units=10)).granted_units == 0
    await kit.sweeper.tick()
    assert (await kit.read_service(service)).told_stop_reasons == {StopReason.RESERVATION_ENDED}
    assert [event.origin.cause for event in await kit.events(service)][1:] == [EventCause.RESERVATION_ENDED]
    assert (await kit.read_bucket(service)).rate_tokens_per_minute == 0
