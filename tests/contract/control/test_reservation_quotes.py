"""Quotes: a reservation costs what was said before, on the same terms, and is refused for the same reasons."""

from collections.abc import Awaitable
from dataclasses import replace
from typing import TypeVar

import pytest

from control_service.domain.errors import InvalidRequestError, Reason, RefusedError
from control_service.domain.input_bounds import PRICE_NANOS_MAX, RATE_TOKENS_MAX, RESERVED_TOKENS_MAX, TERM_DAYS_MAX
from control_service.domain.model import ReservationPrice
from control_service.domain.reservation import OverflowPolicy, ReservationTerms
from control_service.usecases.people.lifecycle import PurchaseView, quote_reservation
from control_service.usecases.people.reservations import Quote
from control_service.usecases.people.services import delete_service
from tests.harness.control.people_harness import DEFAULT, RESERVED, RESERVED_NANOS, Desk

Result = TypeVar("Result")

BILLED = replace(RESERVED, overflow_policy=OverflowPolicy.BILL_BY_TOKEN)
WANTED = (RESERVED, BILLED, replace(RESERVED, term_day_count=4), replace(BILLED, input_tokens_per_minute=0))
TOO_FAST = replace(RESERVED, output_tokens_per_minute=RESERVED_TOKENS_MAX)


@pytest.fixture
async def shop(desk: Desk) -> Desk:
    """A desk with a little more money than one reservation costs, and a custom service to buy it for."""
    await desk.pay(RESERVED_NANOS + 100)
    await desk.create()
    return desk


async def quote(desk: Desk, terms: ReservationTerms, service_id: str = "chat") -> Quote:
    async with desk.database.reading() as tx:
        return (await quote_reservation(tx, "acme", service_id, terms, desk.now_us))[0]


async def outcome(of: Awaitable[Result]) -> Result | Reason | str:
    """What came of it; a refusal by its reason, a violation by its field."""
    try:
        return await of
    except RefusedError as error:
        return error.reason
    except InvalidRequestError as error:
        return error.violations[0][0]


async def compare(desk: Desk, terms: ReservationTerms, service_id: str = "chat") -> Quote | Reason | str:
    """The quote, which the purchase that follows agrees with."""
    told, bought = await outcome(quote(desk, terms, service_id)), await outcome(desk.buy(terms, service_id))
    if isinstance(told, Quote) and isinstance(bought, PurchaseView):
        made = bought.reservation
        assert told == Quote(made.paid_nanos, made.end_us, bought.postpaid_enabled, 0)
    elif isinstance(told, Quote):
        assert bought is Reason.INSUFFICIENT_BALANCE
        assert told.shortfall_nanos > 0
        await desk.pay(told.shortfall_nanos - 1)
        assert (await quote(desk, terms)).shortfall_nanos == 1
    else:
        assert told == bought
    return told


@pytest.mark.parametrize("terms", WANTED)
@pytest.mark.parametrize("priced", [True, False])
async def test_a_quote_is_what_the_purchase_does(shop: Desk, terms: ReservationTerms, priced: bool) -> None:
    """The price, the end, whether pay-as-you-go is switched on, the money that is lacking; or the refusal."""
    if priced:
        await shop.publish_price()
    for _ in range(2):
        await compare(shop, terms)


async def test_a_quote_is_refused_where_the_purchase_is(shop: Desk) -> None:
    """For what is no custom service any more, or never was, and for rates that add up to too much."""
    await shop.pay(10**18)
    assert await compare(shop, TOO_FAST) != "terms.output_tokens_per_minute"
    assert await compare(shop, TOO_FAST) == "terms.output_tokens_per_minute"
    assert await compare(shop, RESERVED, DEFAULT) is Reason.CUSTOM_SERVICE_REQUIRED
    await shop.create("gone")
    await shop.change(delete_service, "gone")
    assert await compare(shop, RESERVED, "gone") is Reason.SERVICE_DELETED


async def test_a_quote_changes_nothing(shop: Desk) -> None:
    """However often it is asked for."""
    before = await shop.account(), await shop.show(), await shop.version()
    for terms in WANTED[:1] * 3:
        await quote(shop, terms)
    assert (await shop.account(), await shop.show(), await shop.version()) == before


async def test_money_that_may_come_back_is_not_lacking(shop: Desk) -> None:
    """What nodes have on lease counts; what the account owes does not count twice."""
    async with shop.database.writing() as tx:
        account = await tx.accounts.lock("acme")
        await tx.accounts.save(replace(account, leased_nanos=200))
    assert (await shop.account()).available_nanos < RESERVED_NANOS
    assert (await quote(shop, RESERVED)).shortfall_nanos == 0
    free = replace(RESERVED, input_tokens_per_minute=0, output_tokens_per_minute=0)
    await shop.pay(-2 * RESERVED_NANOS)
    assert (await quote(shop, free)).shortfall_nanos == 0


async def test_what_no_account_can_hold_is_no_price(shop: Desk) -> None:
    """Nor would it fit into an answer."""
    dearest = replace(RESERVED, input_tokens_per_minute=RATE_TOKENS_MAX, term_day_count=TERM_DAYS_MAX)
    async with shop.database.writing() as tx:
        model = await tx.models.get("llama")
        await tx.models.save(replace(model, reservation_price=ReservationPrice(PRICE_NANOS_MAX, 0)))
    assert await compare(shop, dearest) == "terms"
