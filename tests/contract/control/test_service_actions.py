"""Actions and remedies tell the truth: what is named works when it is tried, and nothing else does."""

import contextlib
import random
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
from sqlalchemy.ext.asyncio import AsyncEngine

from control_service.domain.account import Account, OverduePolicy
from control_service.domain.errors import RefusedError, ResourceNotFoundError
from control_service.domain.ledger import LedgerEntryKind, Line
from control_service.domain.model_offer import TrialState
from control_service.domain.service import Service
from control_service.domain.service_action import OfferedService, ServiceAction
from control_service.domain.status import PostpaidState, StopReason
from control_service.usecases.idempotent_call import Act
from control_service.usecases.people.catalogue import NewModel, NewPrice, create_model, publish_price
from control_service.usecases.people.closing import set_closed, set_retired
from control_service.usecases.people.model_offers import ModelOfferView, OfferQuery, list_model_offers, with_offer
from control_service.usecases.people.payments import pay
from control_service.usecases.people.reservations import cancel, purchase
from control_service.usecases.people.services import (
    ServiceUpdate,
    delete_service,
    get_service,
    open_service,
    update_service,
)
from control_service.usecases.people.switches import disable_postpaid, enable_postpaid, set_suspended
from control_service.usecases.people.trial_claim import claim_trial
from control_service.usecases.ports import Transaction
from tallygate._access.rights import SEES_ALL, Sight
from tests.harness.control.people_harness import DEFAULT, RESERVED, Desk
from tests.harness.control.query_plans import recorded, whole_reads

SERVICES = ("chat", DEFAULT)
ACTS = 10
MONEY_NANOS = 10**6
ADJUSTED = ServiceUpdate(display_name="another name", team=None, labels=None)

Try = Callable[[Transaction, Account, Service, Act], Awaitable[object]]


async def _cancel(tx: Transaction, account: Account, service: Service, act: Act) -> object:
    active = await tx.reservations.active(account.account_id, [service.service_id], act.now_us)
    numbers = [each.reservation_number for each in active.get(service.service_id, [])]
    return await cancel(tx, account, service, numbers[0], act) if numbers else service


async def _pay(tx: Transaction, account: Account, _: Service, act: Act) -> Account:
    return (await pay(tx, account, Line(LedgerEntryKind.TOP_UP, 10 * MONEY_NANOS, "why"), act)).account


async def _purchase(tx: Transaction, account: Account, service: Service, act: Act) -> object:
    """Whether the account can pay depends on what is asked for."""
    account = await _pay(tx, account, service, act)
    service = await open_service(tx, account, service.service_id, act)
    return await purchase(tx, account, service, RESERVED, act)


TRIES: dict[ServiceAction, Try] = {
    ServiceAction.CLAIM_FREE_TRIAL: claim_trial,
    ServiceAction.ENABLE_POSTPAID: enable_postpaid,
    ServiceAction.DISABLE_POSTPAID: disable_postpaid,
    ServiceAction.PURCHASE_RESERVATION: _purchase,
    ServiceAction.CANCEL_RESERVATION: _cancel,
    ServiceAction.SUSPEND: lambda *given: set_suspended(*given, suspended=True),
    ServiceAction.RESUME: lambda *given: set_suspended(*given, suspended=False),
    ServiceAction.UPDATE: lambda tx, _, service, act: update_service(tx, service, ADJUSTED, act),
    ServiceAction.DELETE: delete_service,
}
OF_SERVICES = frozenset(TRIES)
OF_OTHERS: dict[ServiceAction, Try] = {
    ServiceAction.TOP_UP_ACCOUNT: _pay,
    ServiceAction.PUBLISH_PRICE: lambda tx, _, service, act: publish_price(
        tx, service.model_id, NewPrice(None, 1, 1, 1, 1, 1), act
    ),
    ServiceAction.RESTORE_MODEL: lambda tx, _, service, act: set_retired(tx, service.model_id, act, retired=False),
    ServiceAction.REOPEN_ACCOUNT: lambda tx, account, _, act: set_closed(tx, account, act, closed=False),
}


class _UndoneError(Exception):
    """Ends a transaction that was only tried."""


async def offered(tx: Transaction, service_id: str, now_us: int) -> OfferedService:
    return await with_offer(tx, await get_service(tx, "acme", service_id, now_us), now_us)


async def shown(desk: Desk, service_id: str) -> OfferedService:
    async with desk.database.reading() as tx:
        return await offered(tx, service_id, desk.now_us)


async def tried(desk: Desk, service_id: str, attempt: Try) -> tuple[bool, OfferedService | None]:
    """Whether an attempt changes anything, and the service after it; all of it is undone."""
    found: list[Any] = []

    async def change(tx: Transaction, account: Account, act: Act) -> None:
        service = await open_service(tx, account, service_id, act)
        after = await attempt(tx, account, service, act)
        found.extend((after != service, await offered(tx, service_id, act.now_us)))
        raise _UndoneError

    with contextlib.suppress(_UndoneError, RefusedError):
        await desk.of_account(change)
    return (found[0], found[1]) if found else (False, None)


async def check(desk: Desk, service_id: str) -> None:
    """Each action that is named changes something, and no other; each remedy clears its reason, or is a first step."""
    before = await shown(desk, service_id)
    worked = {action for action, attempt in TRIES.items() if (await tried(desk, service_id, attempt))[0]}
    assert OF_SERVICES.intersection(before.possible_actions) == worked
    for reason, remedies in before.remedies.items():
        assert set(remedies) <= set(before.possible_actions)
        for remedy in remedies:
            _, after = await tried(desk, service_id, (TRIES | OF_OTHERS)[remedy])
            assert after is not None
            goes_on = remedy is ServiceAction.PUBLISH_PRICE and ServiceAction.ENABLE_POSTPAID in after.remedies[reason]
            assert reason not in after.remedies or goes_on


def acts(desk: Desk, rng: random.Random) -> list[Callable[[str], Awaitable[Any]]]:
    """What may happen next, whether it is allowed or not."""

    async def wait(_: str) -> None:
        desk.clock.advance(rng.choice((30, 50_000)))

    return [
        desk.claim,
        desk.enable,
        desk.disable,
        lambda service_id: desk.suspend(service_id, suspended=rng.random() < 0.5),
        lambda service_id: desk.buy(service_id=service_id),
        lambda service_id: desk.cancel(1, service_id),
        lambda _: desk.pay(rng.choice((MONEY_NANOS, -2 * MONEY_NANOS))),
        lambda _: desk.publish_price(),
        lambda _: desk.retire(retired=rng.random() < 0.5),
        lambda _: desk.close_account(closed=rng.random() < 0.5),
        wait,
    ]


@pytest.mark.parametrize("seed", [1, 2])
async def test_what_is_named_works_and_nothing_else_does(desk: Desk, seed: int) -> None:
    """Whatever happened before, in whatever order."""
    rng = random.Random(seed)
    await desk.pay(3 * MONEY_NANOS)
    await desk.create()
    for _ in range(ACTS):
        with contextlib.suppress(RefusedError, ResourceNotFoundError):
            await rng.choice(acts(desk, rng))(rng.choice(SERVICES))
        for service_id in SERVICES:
            await check(desk, service_id)


async def test_an_overdue_account_is_topped_up(desk: Desk) -> None:
    """Which makes its service run again, and nothing else does."""
    await desk.publish_price()
    await desk.pay(MONEY_NANOS)
    await desk.create()
    await desk.enable()
    await desk.pay(-2 * MONEY_NANOS)
    found = await shown(desk, "chat")
    assert found.remedies == {StopReason.ACCOUNT_OVERDUE: (ServiceAction.TOP_UP_ACCOUNT,)}
    assert ServiceAction.TOP_UP_ACCOUNT in found.possible_actions
    await check(desk, "chat")


async def test_pay_as_you_go_without_a_price_begins_with_one(desk: Desk) -> None:
    """It is no remedy before, since it would be refused."""
    await desk.create()
    start = (ServiceAction.CLAIM_FREE_TRIAL, ServiceAction.PUBLISH_PRICE, ServiceAction.PURCHASE_RESERVATION)
    assert (await shown(desk, "chat")).remedies == {None: start}
    await desk.publish_price()
    assert (await shown(desk, DEFAULT)).remedies == {
        None: (ServiceAction.CLAIM_FREE_TRIAL, ServiceAction.ENABLE_POSTPAID)
    }


async def test_nothing_is_done_about_what_is_deleted_or_in_another_currency(desk: Desk) -> None:
    """A tombstone has neither actions nor remedies; prices that the account cannot pay leave the trial."""
    await desk.create()
    await desk.change(delete_service)
    tombstone = await shown(desk, "chat")
    assert (tombstone.possible_actions, tombstone.remedies) == ((), {})
    await desk.create_model("euro", currency="EUR")
    await desk.publish_price(model_id="euro")
    assert (await shown(desk, "default-euro")).remedies == {None: (ServiceAction.CLAIM_FREE_TRIAL,)}
    await desk.claim("default-euro")
    desk.clock.advance(90)
    assert (await shown(desk, "default-euro")).remedies == {StopReason.TRIAL_EXPIRED: ()}


async def offers(
    desk: Desk, after: str = "", limit: int = 100, sight: Sight = SEES_ALL, called: str = ""
) -> list[ModelOfferView]:
    async with desk.database.reading() as tx:
        return await list_model_offers(tx, OfferQuery("acme", sight, after, limit, called), desk.now_us)


async def test_offers_say_where_the_trial_is(desk: Desk) -> None:
    """Offered, claimed by which service, over; withdrawn ones that somebody has go on."""
    await desk.create_team("blue")
    await desk.create("chat", team="blue")
    (before,) = await offers(desk)
    assert (before.trial_state, before.trial_service) == (TrialState.CLAIMABLE, None)
    await desk.claim("chat")
    (usable,) = await offers(desk)
    assert usable.trial_service is not None
    assert (usable.trial_state, usable.trial_service.service_id) == (TrialState.USABLE, "chat")
    desk.clock.advance(90)
    (over,) = await offers(desk)
    assert over.trial_state is TrialState.OVER
    for team_id, service_id in (("blue", "chat"), ("red", None)):
        (seen,) = await offers(desk, sight=Sight(teams=frozenset({("acme", team_id)})))
        assert (seen.trial_state, seen.default_service) == (TrialState.OVER, None)
        assert (seen.trial_service.service_id if seen.trial_service else None) == service_id


async def test_nothing_is_offered_of_a_retired_model_or_to_a_closed_account(desk: Desk) -> None:
    """What takes it back is all that is left to begin with."""
    await desk.publish_price()
    for end, taken_back in (
        (desk.retire, ServiceAction.RESTORE_MODEL),
        (desk.close_account, ServiceAction.REOPEN_ACCOUNT),
    ):
        await end()
        (offer,) = await offers(desk)
        assert offer.trial_state is TrialState.NOT_OFFERED
        await check(desk, DEFAULT)
        remedies = (await shown(desk, DEFAULT)).remedies
        assert remedies.pop(None) == ()
        assert (taken_back,) in remedies.values()


async def test_offers_have_the_default_service_as_the_service_itself_does(desk: Desk) -> None:
    """Whether or not anybody has acted on it, with prices in force and coming; in pages, by model."""
    await desk.create_model("mistral")
    await desk.publish_price()
    for later_us in (200, 100):
        await desk.publish_price(desk.now_us + later_us)
    await desk.enable(DEFAULT)
    llama, mistral = await offers(desk)
    assert llama.default_service == await shown(desk, DEFAULT)
    assert llama.default_service.view.service.postpaid is PostpaidState.ENABLED
    assert llama.offer.price is not None
    assert [price.effective_us - desk.now_us for price in llama.offer.coming_prices] == [100, 200]
    assert mistral.default_service == await shown(desk, "default-mistral")
    assert (mistral.offer.price, mistral.offer.coming_prices) == (None, ())
    assert await offers(desk, limit=1) == [llama]
    assert await offers(desk, after="llama") == [mistral]


async def test_offers_read_no_more_than_they_show(desk: Desk, engine: AsyncEngine, planner: AsyncEngine) -> None:
    """However many services the account has."""
    await desk.create()
    await desk.claim("chat")
    await desk.pay(MONEY_NANOS)
    await desk.buy()
    with recorded(engine) as statements:
        await offers(desk)
    assert statements
    found = await whole_reads(planner, statements)
    assert [each for each in found if " models" not in each.partition("SELECT")[0]] == []


async def test_an_overdue_policy_that_spares_leaves_nothing_to_do(desk: Desk) -> None:
    """A service that runs on its trial has no remedies, however much the account owes."""
    await desk.publish_price()
    await desk.pay(MONEY_NANOS)
    await desk.claim(DEFAULT)
    await desk.enable(DEFAULT)
    await desk.update_account(policy=OverduePolicy.KEEP_FUNDED)
    await desk.pay(-2 * MONEY_NANOS)
    assert (await desk.account()).overdue
    assert (await shown(desk, DEFAULT)).remedies == {}


async def test_an_offer_is_found_by_what_clients_call_the_model(desk: Desk) -> None:
    """Its id, or else an alias, and nothing else that begins so."""
    new = NewModel("llama-3", "", ("meta/llama",), "USD", None, None, 16)
    await desk.of_globals(lambda tx, act: create_model(tx, new, act))
    for called, model_ids in (("llama-3", ["llama-3"]), ("meta/llama", ["llama-3"]), ("llama", ["llama"]), ("lla", [])):
        found = await offers(desk, called=called)
        assert [view.offer.model.model_id for view in found] == model_ids
