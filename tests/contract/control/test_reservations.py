"""Reservations: bought, added up, cancelled, ended."""

from dataclasses import replace

import pytest

from control_service.domain.errors import InvalidRequestError, Reason, RefusedError, ResourceNotFoundError
from control_service.domain.event import EventCause
from control_service.domain.input_bounds import RATE_TOKENS_MAX, RESERVED_TOKENS_MAX, TERM_DAYS_MAX
from control_service.domain.ledger import LedgerEntryKind
from control_service.domain.pot import PotKind
from control_service.domain.reservation import OverflowPolicy, ReservationState
from control_service.domain.status import BillingMode, PostpaidState, Status, StopReason
from tests.harness.control.people_harness import DEFAULT, RESERVED, RESERVED_NANOS, Desk

BILLED = replace(RESERVED, overflow_policy=OverflowPolicy.BILL_BY_TOKEN)
DAY_S = 86_400


@pytest.fixture
async def shop(desk: Desk) -> Desk:
    """A desk with money for three reservations, and a custom service to buy them for."""
    await desk.pay(3 * RESERVED_NANOS)
    await desk.create()
    return desk


async def refusal(of: object) -> RefusedError:
    with pytest.raises(RefusedError) as caught:
        await of  # type: ignore[misc]  # any awaitable
    return caught.value


async def test_a_purchase_is_paid_at_once(shop: Desk) -> None:
    """The ledger has a line for it that names it, and the balance is lower by its price."""
    bought = await shop.buy()
    async with shop.database.reading() as tx:
        *_, line = await tx.ledger.page("acme", "chat", 0, 10)
    assert (line.kind, line.amount_nanos) == (LedgerEntryKind.RESERVATION, -RESERVED_NANOS)
    assert line.reason == "accounts/acme/services/chat/reservations/1"
    assert (await shop.account()).balance_nanos == 2 * RESERVED_NANOS
    assert (bought.reservation.paid_nanos, bought.postpaid_enabled) == (RESERVED_NANOS, False)
    assert bought.service.derived.billing_modes == {BillingMode.TPM_RESERVATION}


async def test_reservations_add_up_and_each_brings_its_minute(shop: Desk) -> None:
    """The buckets of both classes are full after a purchase; a second one adds its own minute, not the first one's."""
    await shop.buy()
    bucket = await shop.bucket(PotKind.RESERVATION_INPUT)
    assert (bucket.rate_tokens_per_minute, bucket.available_units) == (1_000, 1_000)
    async with shop.database.writing() as tx:
        account = await tx.accounts.lock("acme")
        service = (await shop.show()).service
        await tx.buckets.put(account.account_id, service.uid, PotKind.RESERVATION_INPUT, bucket.lent(1_000))
    second = await shop.buy()
    bucket = await shop.bucket(PotKind.RESERVATION_INPUT)
    assert (bucket.rate_tokens_per_minute, bucket.available_units, bucket.leased_units) == (2_000, 1_000, 1_000)
    assert second.service.reserved.output_tokens_per_minute == 200


async def test_a_cancelled_reservation_takes_its_rate_along(shop: Desk) -> None:
    """What is left is the rate, and at most the minute, of those that are still active; nothing is paid back."""
    await shop.buy()
    await shop.buy()
    cancelled = await shop.cancel(1)
    assert (cancelled.state(shop.now_us), cancelled.end_us) == (ReservationState.CANCELLED, shop.now_us)
    bucket = await shop.bucket(PotKind.RESERVATION_OUTPUT)
    assert (bucket.rate_tokens_per_minute, bucket.available_units) == (100, 100)
    assert (await shop.account()).balance_nanos == RESERVED_NANOS
    assert (await refusal(shop.cancel(1))).reason is Reason.RESERVATION_NOT_ACTIVE
    with pytest.raises(ResourceNotFoundError):
        await shop.cancel(3)


async def test_the_end_of_the_last_reservation_stops_the_service(shop: Desk) -> None:
    """Where nothing else pays, and postpaid was never enabled; buying again is a remedy."""
    await shop.buy()
    ends_us = shop.now_us + DAY_S * 1_000_000
    shop.clock.advance(2 * DAY_S)
    assert (await shop.show()).derived.stop_reasons == {StopReason.RESERVATION_ENDED}
    assert (await shop.buy()).service.derived.status is Status.ACTIVATING
    _, ended, again = await shop.events()
    assert (ended.origin.cause, ended.origin.at_us) == (EventCause.RESERVATION_ENDED, ends_us)
    assert again.origin.cause is EventCause.RESERVATION_PURCHASED


async def test_billing_overflow_by_token_enables_postpaid(shop: Desk) -> None:
    """The purchase says so; it needs a price in force then, and is refused as a whole without one."""
    assert (await refusal(shop.buy(BILLED))).reason is Reason.NO_PRICE_IN_FORCE
    assert (await shop.account()).balance_nanos == 3 * RESERVED_NANOS
    await shop.publish_price()
    first, second = await shop.buy(BILLED), await shop.buy(BILLED)
    assert (first.postpaid_enabled, second.postpaid_enabled) == (True, False)
    assert second.service.service.postpaid is PostpaidState.ENABLED


async def test_a_purchase_that_switches_on_again_says_why(shop: Desk) -> None:
    """A service that was switched off runs again by the purchase's switch, not by the reservation."""
    await shop.publish_price()
    await shop.enable()
    await shop.disable()
    await shop.buy()
    assert (await shop.show()).derived.stop_reasons == {StopReason.POSTPAID_DISABLED}
    await shop.buy(BILLED)
    assert (await shop.show()).derived.stop_reasons == set()
    assert (await shop.events())[-1].origin.cause is EventCause.POSTPAID_ENABLED


async def test_what_is_refused(shop: Desk) -> None:
    """Default services, a model of another currency, and what the account cannot pay, with the numbers."""
    assert (await refusal(shop.buy(service_id=DEFAULT))).reason is Reason.CUSTOM_SERVICE_REQUIRED
    dear = replace(RESERVED, term_day_count=4)
    error = await refusal(shop.buy(dear))
    assert error.reason is Reason.INSUFFICIENT_BALANCE
    assert error.metadata == {"required_nanos": "4400", "available_nanos": "3300", "leased_nanos": "0"}
    await shop.update_account(credit=1_100)
    assert (await shop.buy(dear)).reservation.paid_nanos == 4 * RESERVED_NANOS
    assert (await shop.account()).available_nanos == 0


async def test_money_on_lease_buys_nothing(shop: Desk) -> None:
    """What metering nodes have on lease may be spent already, and is not there to pay with."""
    async with shop.database.writing() as tx:
        await tx.accounts.save(replace(await tx.accounts.lock("acme"), leased_nanos=2 * RESERVED_NANOS + 1))
    assert (await refusal(shop.buy())).reason is Reason.INSUFFICIENT_BALANCE


async def test_the_greatest_reservations_fit(shop: Desk) -> None:
    """As many of the greatest rate as may add up still fit into the buckets; one more is refused."""
    await shop.pay(10**18)
    greatest = replace(RESERVED, input_tokens_per_minute=RATE_TOKENS_MAX, term_day_count=TERM_DAYS_MAX)
    first = (await shop.buy(greatest)).reservation
    most = RESERVED_TOKENS_MAX // RATE_TOKENS_MAX
    async with shop.database.writing() as tx:
        await tx.accounts.lock("acme")
        for number in range(2, most):
            await tx.reservations.add(replace(first, reservation_number=number))
        await tx.services.save(replace((await shop.show()).service, reservation_count=most - 1))
    await shop.buy(greatest)
    shop.clock.advance(DAY_S)
    bucket = await shop.bucket(PotKind.RESERVATION_INPUT)
    assert bucket.available_units == RESERVED_TOKENS_MAX
    with pytest.raises(InvalidRequestError, match="input_tokens_per_minute"):
        await shop.buy()
