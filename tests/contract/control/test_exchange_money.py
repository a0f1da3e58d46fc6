"""Exchanges about money: one pot of an account, shared by all its services on all nodes."""

from control_service.domain.event import EventCause
from control_service.domain.pot import PotKind
from control_service.domain.recall import Availability
from control_service.domain.reservation import OverflowPolicy
from control_service.domain.status import Status, StopReason
from control_service.usecases.fleet.elapsed_time import RECALL_TIMEOUT_NS
from control_service.usecases.people.accounts import forecast
from tests.harness.control.fleet_harness import FLOOR, Kit

MONEY = PotKind.MONEY
MINUTE_US, DAY_US = 60 * 10**6, 86_400 * 10**6


async def test_money_is_granted_consumed_and_returned(kit: Kit) -> None:
    """A lease is granted, partly consumed, partly returned, and closed; the books agree at every step."""
    service, node = await kit.service(postpaid=True), await kit.node()
    answer = await node.exchange_one(service, MONEY, wanted_units=100_000, needed_units=20_000)
    assert (answer.granted_units, answer.availability) == (100_000, Availability.AVAILABLE)
    assert (answer.available_units, answer.leased_elsewhere_units) == (900_000, 0)
    await kit.assert_conserved()
    await node.exchange_one(service, MONEY, consumed_units=60_000, held_units=10_000)
    await kit.assert_conserved()
    assert (await kit.read_account()).available_nanos == 900_000
    await node.exchange_one(service, MONEY, consumed_units=60_000, returned_units=30_000)
    assert (await kit.read_account()).available_nanos == 930_000
    answer = await node.exchange_one(service, MONEY, consumed_units=65_000, returned_units=30_000, closing=True)
    assert answer.closed
    await kit.assert_conserved()
    assert (await kit.read_account()).balance_nanos == 935_000


async def test_what_is_said_again_counts_once(kit: Kit) -> None:
    """Counters merge by maximum: the same statement under a later number, and an older one after it, change nothing."""
    service, node = await kit.service(postpaid=True), await kit.node()
    await node.exchange_one(service, MONEY, wanted_units=100_000)
    for consumed in (50_000, 50_000, 20_000, 50_000):
        await node.exchange_one(service, MONEY, consumed_units=consumed)
        await kit.assert_conserved()
    assert (await kit.read_account()).spent_nanos == 50_000


async def test_late_consumption_on_a_closed_lease_counts(kit: Kit) -> None:
    """Consumption that a node states on a closed lease is spent all the same, and lowers the balance below zero."""
    service, node = await kit.service(postpaid=True), await kit.node()
    await node.exchange_one(service, MONEY, needed_units=1_000_000)
    await node.exchange_one(service, MONEY, consumed_units=1_000_000, closing=True)
    answer = await node.exchange_one(service, MONEY, consumed_units=1_200_000)
    assert answer.closed
    account = await kit.read_account()
    assert (account.balance_nanos, account.available_nanos, account.overdue) == (-200_000, -200_000, True)
    await kit.assert_conserved()


async def test_usage_is_gathered_by_minute_and_service(kit: Kit) -> None:
    """One ledger line grows within a minute; the next minute has its own."""
    service, node = await kit.service(postpaid=True), await kit.node()
    await node.exchange_one(service, MONEY, wanted_units=100_000)
    for step in range(1, 7):
        await node.exchange_one(service, MONEY, consumed_units=step * 1_000)
        kit.clock.advance(15)
    async with kit.database.reading() as tx:
        lines = await tx.ledger.page("acme", "chat", 0, 10)
    assert sum(line.amount_nanos for line in lines) == -6_000
    assert len(lines) in (2, 3)
    assert [line.entry_number for line in lines] == list(range(1, len(lines) + 1))


async def test_money_is_recalled_from_other_services_too(kit: Kit) -> None:
    """A need that meets money free on other leases of the account, even of the same node, recalls it and gets it."""
    chat, code = await kit.service("chat", postpaid=True), await kit.service("code", postpaid=True)
    first, second = await kit.node("node-a"), await kit.node("node-b")
    await first.exchange_one(chat, MONEY, needed_units=600_000)
    await first.exchange_one(code, MONEY, needed_units=400_000, held_units=300_000)
    await first.exchange_one(code, MONEY, held_units=300_000)
    answer = await second.exchange_one(code, MONEY, needed_units=500_000)
    assert (answer.granted_units, answer.availability) == (0, Availability.RECALLING)
    assert answer.leased_elsewhere_units == 1_000_000
    assert {lease.lease_id for lease in await kit.read_leases() if lease.recall_requested_us} == {
        first.lease_id(chat, MONEY),
        first.lease_id(code, MONEY),
    }
    await first.exchange_one(chat, MONEY, returned_units=600_000, wanted_units=0)
    answer = await second.exchange_one(code, MONEY, needed_units=500_000)
    assert (answer.granted_units, answer.availability) == (500_000, Availability.AVAILABLE)
    await kit.assert_conserved()


async def test_a_node_that_ignores_a_recall_is_not_waited_for(kit: Kit) -> None:
    """After the patience for a recall, what a silent node has counts as gone."""
    service, first, second = await kit.service(postpaid=True), await kit.node("node-a"), await kit.node("node-b")
    await first.exchange_one(service, MONEY, needed_units=1_000_000)
    assert (await second.exchange_one(service, MONEY, needed_units=5)).availability is Availability.RECALLING
    kit.clock.advance(us=RECALL_TIMEOUT_NS // 1_000)
    assert (await second.exchange_one(service, MONEY, needed_units=5)).availability is Availability.EMPTY
    assert not (await kit.read_account()).overdue


async def test_a_service_without_other_payer_that_finds_nothing_makes_the_account_overdue(kit: Kit) -> None:
    """Less than the floor available, nothing leased that could come back: overdue, and its services stop."""
    service, node = await kit.service(postpaid=True), await kit.node()
    await node.exchange_one(service, MONEY, needed_units=1_000_000 - FLOOR + 1)
    await node.exchange_one(service, MONEY, consumed_units=1_000_000 - FLOOR + 1)
    answer = await node.exchange_one(service, MONEY, consumed_units=1_000_000 - FLOOR + 1, needed_units=10)
    assert (answer.availability, answer.available_units) == (Availability.EMPTY, 0)
    account, stopped = await kit.read_account(), await kit.read_service(service)
    assert account.overdue
    assert stopped.told_status is Status.STOPPED
    assert stopped.told_stop_reasons == {StopReason.ACCOUNT_OVERDUE}
    assert (await kit.events(service))[-1].origin.cause is EventCause.ACCOUNT_OVERDUE


async def test_what_is_still_leased_keeps_an_account_from_being_overdue(kit: Kit) -> None:
    """As long as anything is leased it may come back; when it does, the account is not overdue."""
    service, first, second = await kit.service(postpaid=True), await kit.node("node-a"), await kit.node("node-b")
    await first.exchange_one(service, MONEY, needed_units=1_000_000)
    await first.exchange_one(service, MONEY, held_units=1_000_000)
    answer = await second.exchange_one(service, MONEY, needed_units=10)
    assert answer.availability is Availability.EMPTY
    assert not (await kit.read_account()).overdue
    await first.exchange_one(service, MONEY, consumed_units=999_999, closing=True)
    await second.exchange_one(service, MONEY, needed_units=10)
    assert (await kit.read_account()).overdue


async def test_a_balance_below_the_credit_limit_is_overdue_until_it_is_not(kit: Kit) -> None:
    """A debt over the credit limit latches at once, whether or not another payer is left."""
    service, node = await kit.service(postpaid=True, trial_tokens=1_000), await kit.node()
    await node.exchange_one(service, MONEY, consumed_units=1_000_001)
    assert (await kit.read_account()).overdue


async def test_a_service_with_another_payer_does_not_make_the_account_overdue(kit: Kit) -> None:
    """Where a trial is usable, a need for money that finds none is refused and latches nothing."""
    service, node = await kit.service(postpaid=True, trial_tokens=1_000), await kit.node()
    await node.exchange_one(service, MONEY, needed_units=1_000_000)
    await node.exchange_one(service, MONEY, consumed_units=1_000_000)
    await node.exchange_one(service, MONEY, consumed_units=1_000_000, needed_units=10)
    assert not (await kit.read_account()).overdue


async def test_money_does_not_pay_where_a_reservation_refuses_overflow(kit: Kit) -> None:
    """An active reservation with REFUSE keeps the account's money out: none is granted, and none is on offer."""
    service = await kit.service(postpaid=True, output_tpm=100, overflow=OverflowPolicy.REFUSE)
    answer = await (await kit.node()).exchange_one(service, MONEY, needed_units=10)
    assert (answer.granted_units, answer.availability, answer.available_units) == (0, Availability.EMPTY, 0)


async def test_prefetch_takes_a_quarter_and_needs_take_all(kit: Kit) -> None:
    """Two nodes that want everything leave most of it to those who need it."""
    service, first, second = await kit.service(postpaid=True), await kit.node("node-a"), await kit.node("node-b")
    assert (await first.exchange_one(service, MONEY, wanted_units=10**9)).granted_units == 250_000
    assert (await second.exchange_one(service, MONEY, wanted_units=10**9)).granted_units == 93_750
    answer = await second.exchange_one(service, MONEY, wanted_units=10**9, needed_units=700_000)
    assert answer.granted_units == 700_000 + (1_000_000 - 250_000 - 700_000) // (4 * 2)
    await kit.assert_conserved()


async def test_money_is_forecast_by_what_was_used_in_a_day(kit: Kit) -> None:
    """Not by what is older, nor by what was paid in or bought; a younger account's day is its life."""
    service, node = await kit.service(postpaid=True), await kit.node()

    async def pace() -> tuple[int, int, int | None]:
        async with kit.database.reading() as tx:
            account, pace = await forecast(tx, "acme", kit.now_us)
        return pace.spent_units, pace.since_us, pace.used_up_us(account.left_nanos)

    created_us = (await kit.read_account()).create_us
    await node.exchange_one(service, MONEY, needed_units=200_000, consumed_units=0)
    await node.exchange_one(service, MONEY, consumed_units=100_000)
    assert await pace() == (100_000, created_us, None)
    kit.clock.advance(10 * 3_600)
    passed_us = kit.now_us - created_us
    assert await pace() == (100_000, created_us, kit.now_us + 9 * passed_us)
    kit.clock.advance(13 * 3_600)
    await node.exchange_one(service, MONEY, consumed_units=120_000)
    assert (await pace())[0] == 120_000
    kit.clock.advance(2 * 3_600)
    spent, since_us, used_up_us = await pace()
    assert (spent, since_us) == (20_000, (kit.now_us - DAY_US) // MINUTE_US * MINUTE_US)
    assert used_up_us == kit.now_us + 44 * (kit.now_us - since_us)
