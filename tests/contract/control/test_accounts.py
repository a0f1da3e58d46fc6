"""Accounts and their money."""

from typing import Any

import pytest

from control_service.domain.account import OverduePolicy
from control_service.domain.errors import InvalidRequestError, ResourceNotFoundError
from control_service.domain.event import EventCause
from control_service.domain.input_bounds import AMOUNT_NANOS_MAX, FUNDS_NANOS_MAX
from control_service.domain.pot import PotKey, PotKind
from control_service.domain.status import Status, StopReason
from control_service.usecases.people.accounts import AccountUpdate, update_account
from tests.harness.control.people_harness import DEFAULT, Desk


async def test_the_ledger_adds_up_to_the_balance(desk: Desk) -> None:
    """The sum of all lines is the balance, after payments in both directions."""
    for amount in (100, -30, 7):
        await desk.pay(amount)
    async with desk.database.reading() as tx:
        entries = await tx.ledger.page("acme", None, 0, 100)
    assert [entry.amount_nanos for entry in entries] == [100, -30, 7]
    assert (await desk.account()).balance_nanos == 77


async def test_a_ledger_is_read_in_pages(desk: Desk) -> None:
    """Pages follow each other by number, without gaps and without repeats."""
    for amount in range(1, 6):
        await desk.pay(amount)
    async with desk.database.reading() as tx:
        first = await tx.ledger.page("acme", None, 0, 3)
        second = await tx.ledger.page("acme", None, first[-1].entry_number, 3)
        latest = await tx.ledger.page("acme", None, 100, 2, newest_first=True)
        before = await tx.ledger.page("acme", None, latest[-1].entry_number, 5, newest_first=True)
    assert [entry.amount_nanos for entry in [*first, *second]] == [1, 2, 3, 4, 5]
    assert [entry.amount_nanos for entry in [*latest, *before]] == [5, 4, 3, 2, 1]


async def test_an_account_is_needed(desk: Desk) -> None:
    """Nothing is done to an account that is not there."""
    async with desk.database.writing() as tx:
        with pytest.raises(ResourceNotFoundError, match="accounts/nobody"):
            await tx.accounts.lock("nobody")


async def test_no_sum_of_payments_leaves_64_bits(desk: Desk) -> None:
    """Payments stop where an account would hold more than fits, and say so."""
    for _ in range(FUNDS_NANOS_MAX // AMOUNT_NANOS_MAX):
        await desk.pay(AMOUNT_NANOS_MAX)
    with pytest.raises(InvalidRequestError, match="amount_nanos"):
        await desk.pay(1)
    await desk.update_account(credit=AMOUNT_NANOS_MAX)
    assert (await desk.account()).available_nanos == FUNDS_NANOS_MAX + AMOUNT_NANOS_MAX


async def test_overdue_stops_and_a_top_up_restarts(desk: Desk) -> None:
    """Below minus the credit limit all pay-as-you-go services stop; at the floor they run again, by themselves."""
    await desk.publish_price()
    await desk.enable(DEFAULT)
    await desk.fleet_knows(DEFAULT)
    await desk.pay(-1)
    stopped = await desk.show(DEFAULT)
    assert stopped.derived.status is Status.STOPPED
    assert stopped.derived.stop_reasons == {StopReason.ACCOUNT_OVERDUE}
    await desk.pay(10)
    assert (await desk.account()).overdue
    await desk.pay(1)
    assert not (await desk.account()).overdue
    assert (await desk.show(DEFAULT)).derived.status is Status.RUNNING
    causes = [event.origin.cause for event in await desk.events(DEFAULT)]
    assert causes == [EventCause.POSTPAID_ENABLED, EventCause.ACCOUNT_OVERDUE, EventCause.ACCOUNT_RECOVERED]


async def test_a_top_up_clears_nothing_but_overdue(desk: Desk) -> None:
    """A service that its user switched off stays off, and a suspended one suspended."""
    await desk.publish_price()
    for service_id in ("off", "held"):
        await desk.create(service_id)
        await desk.enable(service_id)
    await desk.disable("off")
    await desk.suspend("held")
    await desk.pay(-1)
    assert (await desk.show("held")).derived.stop_reasons == {StopReason.SUSPENDED, StopReason.ACCOUNT_OVERDUE}
    await desk.pay(100)
    assert (await desk.show("off")).derived.stop_reasons == {StopReason.POSTPAID_DISABLED}
    assert (await desk.show("held")).derived.stop_reasons == {StopReason.SUSPENDED}


async def test_settings_may_set_and_clear_overdue(desk: Desk) -> None:
    """A lower credit limit may make an account overdue, a higher one clears it."""
    await desk.update_account(credit=100)
    await desk.pay(-50)
    assert not (await desk.account()).overdue
    assert (await desk.update_account(credit=49)).overdue
    assert not (await desk.update_account(credit=60)).overdue


async def test_the_policy_may_spare_funded_services(desk: Desk) -> None:
    """A change of policy restarts what has trial tokens, with an event that says so, and stops it again."""
    await desk.publish_price()
    await desk.create()
    await desk.claim()
    await desk.enable()
    await desk.fleet_knows()
    await desk.pay(-1)
    assert (await desk.show()).derived.status is Status.STOPPED
    await desk.update_account(policy=OverduePolicy.KEEP_FUNDED)
    assert (await desk.show()).derived.status is Status.RUNNING
    assert (await desk.events())[-1].origin.cause is EventCause.ACCOUNT_UPDATED
    await desk.update_account(policy=OverduePolicy.STOP_ALL)
    assert (await desk.show()).derived.stop_reasons == {StopReason.ACCOUNT_OVERDUE}


async def test_a_payment_is_announced(desk: Desk) -> None:
    """A node that waits for the account's money is notified of a top-up, and not of money taken away."""
    with desk.signal.listening() as listener:
        await desk.pay(5)
        assert {key.account for key in await listener.wait()} == {"acme"}
        await desk.pay(-1)
        assert await listener.wait() == frozenset()


@pytest.mark.parametrize(
    ("changes", "announced"),
    [
        ({"overdue_floor_nanos": 5}, True),
        ({"credit_limit_nanos": 5}, True),
        ({"overdue_floor_nanos": 20}, False),
        ({"display_name": "Acme"}, False),
    ],
)
async def test_settings_that_make_money_leasable_are_announced(
    desk: Desk, changes: dict[str, int], announced: bool
) -> None:
    """A lower floor or a higher limit: a node that was answered that the account has nothing may request again."""
    settings: dict[str, Any] = {**dict.fromkeys(AccountUpdate.__slots__), **changes}
    given = AccountUpdate(**settings)
    with desk.signal.listening() as listener:
        await desk.of_account(lambda tx, account, act: update_account(tx, account, given, act))
        assert await listener.wait() == ({PotKey.of("acme", "", PotKind.MONEY)} if announced else set())
