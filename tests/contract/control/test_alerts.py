"""Alerts are written by what causes them: the furthest threshold crossed, once, under numbers without gaps."""

import pytest

from control_service.domain.account import Account
from control_service.domain.alert import AlertContent, AlertKind
from control_service.domain.pot import PotKind
from control_service.usecases.alert_log import tell
from control_service.usecases.alert_ports import AlertFilter
from control_service.usecases.alerts.alert_settings import AlertSettingsUpdate, update_alert_settings
from tests.harness.control.alerts import NUMBER_MAX, alerts_of, figures_of
from tests.harness.control.fleet_harness import Kit
from tests.harness.control.limits import Budgets, exchange
from tests.harness.control.people_harness import Desk

TRIAL, MONEY = PotKind.TRIAL, PotKind.MONEY
TRIAL_THRESHOLD, MONEY_THRESHOLD = AlertKind.TRIAL_THRESHOLD, AlertKind.MONEY_THRESHOLD
SERVICE_STATUS = AlertKind.SERVICE_STATUS
PERCENT, LEFT = "threshold_percent", "threshold_nanos"


async def set_thresholds(
    desk: Desk, *, trial: tuple[int, ...] | None = None, left: tuple[int, ...] | None = None
) -> Account:
    update = AlertSettingsUpdate(trial, left)
    return await desk.of_account(lambda tx, account, act: update_alert_settings(tx, account, update, act))


async def test_a_trial_tells_of_each_threshold_once(kit: Kit) -> None:
    """By default at 80 and at 100 percent, by what is settled, with its figures."""
    service, node = await kit.service(trial_tokens=1_000), await kit.node()
    await node.exchange_one(service, TRIAL, needed_units=1_000)
    told = []
    for consumed in (799, 800, 801, 990, 1_000):
        await node.exchange_one(service, TRIAL, consumed_units=consumed)
        told.append(await figures_of(kit.database, TRIAL_THRESHOLD, PERCENT))
    assert told == [[], [80], [80], [80, 100], [80, 100]]
    first = (await alerts_of(kit.database, TRIAL_THRESHOLD))[0]
    assert first.content.resource == service.name
    assert first.content.figures == {PERCENT: 80, "spent_units": 800, "amount_units": 1_000}


async def test_a_trial_that_no_request_fits_into_is_at_its_last_threshold(kit: Kit) -> None:
    """Less than the smallest request is left: nobody will ever spend it."""
    service, node = await kit.service(trial_tokens=1_000), await kit.node()
    await node.exchange_one(service, TRIAL, needed_units=1_000)
    await node.exchange_one(service, TRIAL, consumed_units=985, held_units=15)
    assert await figures_of(kit.database, TRIAL_THRESHOLD, PERCENT) == [80]
    await node.exchange_one(service, TRIAL, consumed_units=985)
    assert await figures_of(kit.database, TRIAL_THRESHOLD, PERCENT) == [80, 100]


async def test_one_settlement_tells_of_one_threshold(kit: Kit) -> None:
    """Of the highest, where it crosses several."""
    service, node = await kit.service(trial_tokens=1_000), await kit.node()
    await node.exchange_one(service, TRIAL, needed_units=1_000)
    await node.exchange_one(service, TRIAL, consumed_units=1_000)
    assert await figures_of(kit.database, TRIAL_THRESHOLD, PERCENT) == [100]


async def test_money_tells_of_what_is_left_and_again_after_a_top_up(desk: Desk) -> None:
    """The lowest threshold crossed, once; what the money is above again is armed again."""
    await set_thresholds(desk, left=(500, 100))
    assert await figures_of(desk.database, MONEY_THRESHOLD, LEFT) == [100], "nothing is left of an empty account"
    for amount, told in (
        (1_000, []),
        (-499, []),
        (-1, [500]),
        (-1, []),
        (+1, []),
        (-450, [100]),
        (+400, []),
        (-400, [100]),
        (+10_000, []),
        (-10_000, [100]),
    ):
        before = len(await figures_of(desk.database, MONEY_THRESHOLD, LEFT))
        await desk.pay(amount)
        assert (await figures_of(desk.database, MONEY_THRESHOLD, LEFT))[before:] == told, amount


async def test_a_credit_limit_is_money_that_is_left(desk: Desk) -> None:
    """A lowered one crosses thresholds like any spending."""
    await desk.update_account(credit=1_000)
    await set_thresholds(desk, left=(0, 200))
    await desk.update_account(credit=150)
    assert await figures_of(desk.database, MONEY_THRESHOLD, LEFT) == [200]
    (alert,) = await alerts_of(desk.database, MONEY_THRESHOLD)
    assert alert.content.figures == {LEFT: 200, "left_nanos": 150, "balance_nanos": 0}
    assert alert.content.words == {"currency_code": "USD"}


async def test_settlements_tell_of_money(kit: Kit) -> None:
    """What nodes have spent crosses thresholds as what people take away does."""
    desk = Desk(kit.database)
    await set_thresholds(desk, left=(999_950,))
    service, node = await kit.service(postpaid=True), await kit.node()
    await node.exchange_one(service, MONEY, needed_units=100)
    told = []
    for consumed in (49, 50, 51):
        await node.exchange_one(service, MONEY, consumed_units=consumed)
        told.append(await figures_of(kit.database, MONEY_THRESHOLD, LEFT))
    assert told == [[], [999_950], [999_950]]


async def test_new_thresholds_of_a_running_trial_tell_no_old_news(kit: Kit) -> None:
    """One below what was told of is no news; one between there and what is spent is, with the next tokens."""
    desk = Desk(kit.database)
    service, node = await kit.service(trial_tokens=1_000), await kit.node()
    await node.exchange_one(service, TRIAL, needed_units=1_000)
    await node.exchange_one(service, TRIAL, consumed_units=850)
    await set_thresholds(desk, trial=(50, 90))
    await node.exchange_one(service, TRIAL, consumed_units=851)
    assert await figures_of(kit.database, TRIAL_THRESHOLD, PERCENT) == [80]
    await set_thresholds(desk, trial=(50, 85, 90))
    await node.exchange_one(service, TRIAL, consumed_units=852)
    await node.exchange_one(service, TRIAL, consumed_units=853)
    assert await figures_of(kit.database, TRIAL_THRESHOLD, PERCENT) == [80, 85]
    await set_thresholds(desk, trial=())
    await node.exchange_one(service, TRIAL, consumed_units=984)
    assert await figures_of(kit.database, TRIAL_THRESHOLD, PERCENT) == [80, 85]


async def test_an_account_tells_that_it_is_overdue_and_that_it_has_recovered(desk: Desk) -> None:
    """Before the services that stop and start with it, each change once."""
    await desk.create()
    await desk.publish_price()
    await desk.enable()
    await desk.fleet_knows()
    await desk.pay(1_000)
    await desk.pay(-2_000)
    await desk.pay(-1)
    await desk.pay(5_000)
    told = [(alert.content.kind, alert.content.words.get("new_status")) for alert in await alerts_of(desk.database)]
    assert told[-4:] == [
        (AlertKind.ACCOUNT_OVERDUE, None),
        (SERVICE_STATUS, "STOPPED"),
        (AlertKind.ACCOUNT_RECOVERED, None),
        (SERVICE_STATUS, "RUNNING"),
    ]


async def test_a_new_status_is_told_and_another_reason_for_it_is_not(desk: Desk) -> None:
    """With what it was, what it is, and why."""
    await desk.create()
    await desk.publish_price()
    await desk.enable()
    before = len(await alerts_of(desk.database, SERVICE_STATUS))
    await desk.suspend()
    await desk.pay(-1)
    reasons = [sorted(event.new_stop_reasons) for event in (await desk.events())[-2:]]
    assert reasons == [["SUSPENDED"], ["ACCOUNT_OVERDUE", "SUSPENDED"]]
    (alert,) = (await alerts_of(desk.database, SERVICE_STATUS))[before:]
    assert alert.content.resource == "accounts/acme/services/chat"
    assert alert.content.words == {
        "old_status": "ACTIVATING",
        "new_status": "STOPPED",
        "stop_reasons": "SUSPENDED",
        "cause": "SUSPENDED",
    }


async def test_numbers_have_no_gaps(desk: Desk) -> None:
    """A transaction that fails takes its number back, and each account counts for itself."""
    await desk.create_account("bolt")
    content = AlertContent(AlertKind.ACCOUNT_OVERDUE, "accounts/acme")
    for number in range(1, 4):
        with pytest.raises(ZeroDivisionError):
            async with desk.database.writing() as tx:
                await tell(tx, "acme", content, desk.now_us)
                raise ZeroDivisionError
        async with desk.database.writing() as tx:
            assert (await tell(tx, "acme", content, desk.now_us)).number == number
    async with desk.database.writing() as tx:
        assert (await tell(tx, "bolt", content, desk.now_us)).number == 1
    assert [alert.number for alert in await alerts_of(desk.database)] == [1, 2, 3]


async def test_alerts_are_listed_by_kind_and_time(desk: Desk) -> None:
    """The newest first, in pages; of one account."""
    kinds = [AlertKind.ACCOUNT_OVERDUE, AlertKind.ACCOUNT_RECOVERED]
    for number in range(6):
        async with desk.database.writing() as tx:
            content = AlertContent(kinds[number % 2], "accounts/acme")
            await tell(tx, "acme", content, desk.now_us + number)
    async with desk.database.reading() as tx:

        async def numbers(wanted: AlertFilter, before: int = NUMBER_MAX, limit: int = 10) -> list[int]:
            return [alert.number for alert in await tx.alerts.page(wanted, before, limit)]

        assert await numbers(AlertFilter("acme")) == [6, 5, 4, 3, 2, 1]
        assert await numbers(AlertFilter("acme"), before=4, limit=2) == [3, 2]
        assert await numbers(AlertFilter("acme", frozenset({kinds[0]}))) == [5, 3, 1]
        span = AlertFilter("acme", start_us=desk.now_us + 1, end_us=desk.now_us + 4)
        assert await numbers(span) == [4, 3, 2]
        assert await numbers(AlertFilter("bolt")) == []
        assert [alert.number for alert in await tx.alerts.since("acme", 3, desk.now_us + 3, 2)] == [4, 5]


async def test_a_budget_tells_of_the_furthest_threshold_once(kit: Kit) -> None:
    """By what is booked; after a raise again, and a lowered amount that is beyond several tells of one."""
    budgets = Budgets(kit.database, kit.clock)
    budget, node = await budgets.make(1_000, thresholds=(50, 80, 100)), await kit.node()
    key = budgets.key(budget)
    await exchange(node, budget, key, needed_units=1_000)
    told = []

    async def consumed(units: int) -> None:
        await exchange(node, budget, key, consumed_units=units)
        told.append(await figures_of(kit.database, AlertKind.BUDGET_THRESHOLD, "threshold_percent"))

    await consumed(499)
    await consumed(850)
    await consumed(851)
    await budgets.change(budget, amount_units=1_500)
    await consumed(852)
    await budgets.change(budget, amount_units=850)
    await consumed(852)
    await consumed(853)
    assert told == [[], [80], [80], [80], [80, 100], [80, 100]]
    first = (await alerts_of(kit.database, AlertKind.BUDGET_THRESHOLD))[0]
    assert first.content.resource == budget.name
    assert first.content.figures == {"threshold_percent": 80, "spent_units": 850, "amount_units": 1_000} | (
        {"period_start_us": key.period_start_us} if key.period_start_us else {}
    )
