"""The feed of limits: with or before the first service, after each change, and when time alone changes something."""

from dataclasses import replace

import pytest
from sqlalchemy import text

from control_service.api.fleet_codec import encode_update
from control_service.domain.limit import (
    Budget,
    BudgetPeriod,
    BudgetUnit,
    Limit,
    LimitSubject,
    Place,
    PlaceKind,
    RateMetric,
    RateRule,
)
from control_service.domain.period import NEAR_US
from control_service.domain.status import PostpaidState, Status
from control_service.usecases.fleet import followed_limits
from control_service.usecases.fleet.watcher import Update, Watcher
from control_service.usecases.limit_changes import note_limits
from control_service.usecases.resolve_credential import NO_CREDENTIALS
from tallygate.control.v1 import limit_config_pb2, pot_pb2
from tests.harness.control.fleet_harness import Kit, read

ACME, LLAMA = LimitSubject("acme"), LimitSubject(model_id="llama")
CHAT, CODE = "accounts/acme/services/chat", "accounts/acme/services/code"
ON_ACME = Place(PlaceKind.ACCOUNT, "acme")
DAY_S = 86_400
DAY = DAY_S * 10**6
RULE = RateRule("r", "uid-r", ON_ACME, RateMetric.REQUESTS, 60, 60 * 10**6, 6)
BUDGET = Budget("b", "uid-b", ON_ACME, BudgetUnit.TOKENS, 1_000, BudgetPeriod.DAY)


async def store(kit: Kit, *limits: Limit) -> None:
    """As LimitService does."""
    async with kit.database.writing() as tx:
        for limit in limits:
            if isinstance(limit, RateRule):
                save = tx.rate_rules.add
                if await tx.rate_rules.find(limit.place.subject, limit.rule_id):
                    save = tx.rate_rules.save
                await save(limit)
            elif await tx.budgets.find(limit.place.account_id, limit.budget_id):
                await tx.budgets.save(limit)
            else:
                await tx.budgets.add(limit)
            await note_limits(tx, limit.place.subject)


async def watching(kit: Kit, *names: str, node: str = "node-a") -> tuple[Watcher, Update]:
    """A watcher that follows these names, and what it was sent at first."""
    await kit.feed.poll()
    watcher = kit.feed.open(node, 1)
    await kit.feed.subscribe(watcher, names)
    return watcher, await read(watcher)


async def polled(kit: Kit, watcher: Watcher) -> Update:
    await kit.feed.poll()
    return await read(watcher)


def told(update: Update) -> dict[LimitSubject, list[str]]:
    return {config.subject: [limit.name for limit in config.limits] for config in update.limits}


async def test_limits_come_with_the_first_service(kit: Kit) -> None:
    """Those of its account and of its model, and nothing more with the second one."""
    await kit.service("chat", postpaid=True)
    await kit.service("code", postpaid=True)
    await store(kit, RULE, replace(RULE, uid="m", place=Place(PlaceKind.MODEL, resource_id="llama")))
    watcher, first = await watching(kit, CHAT)
    assert [config.name for config in first.services] == [CHAT]
    assert told(first) == {ACME: [RULE.name], LLAMA: ["models/llama/rateRules/r"]}
    await kit.feed.subscribe(watcher, [CODE])
    second = await read(watcher)
    assert ([config.name for config in second.services], second.limits) == ([CODE], ())


async def test_an_account_without_limits_costs_one_empty_message(kit: Kit) -> None:
    """It says that there are none, to a node that may remember some; nothing comes after it."""
    await kit.service("chat", postpaid=True)
    watcher, first = await watching(kit, CHAT)
    assert told(first) == {ACME: [], LLAMA: []}
    message = encode_update(first, 0, kit.now_us)
    assert [(one.account, len(one.limits)) for one in message.account_limits] == [("accounts/acme", 0)]
    assert (await polled(kit, watcher)).limits == ()


async def test_a_name_of_no_service_brings_no_limits(kit: Kit) -> None:
    """Until there is a service of that name: then they come with it."""
    await store(kit, RULE)
    watcher, first = await watching(kit, CHAT)
    assert first.limits == ()
    await kit.service("chat", postpaid=True)
    update = await polled(kit, watcher)
    assert told(update)[ACME] == [RULE.name]
    assert [config.name for config in update.services] == [CHAT]


async def test_a_change_in_another_process_is_told_at_the_next_poll(kit: Kit) -> None:
    """A new limit, a changed one, and a deleted one; of another account nothing."""
    await kit.account("bolt")
    await kit.service("chat", postpaid=True)
    other = Kit(kit.database, kit.clock)
    watcher, _ = await watching(kit, CHAT)
    await store(other, RULE)
    assert told(await polled(kit, watcher)) == {ACME: [RULE.name]}
    await store(other, replace(RULE, limit_units=90))
    (config,) = (await polled(kit, watcher)).limits
    assert config.limits == (replace(RULE, limit_units=90),)
    await store(other, replace(RULE, delete_us=kit.now_us))
    assert told(await polled(kit, watcher)) == {ACME: []}
    await store(other, replace(RULE, uid="uid-bolt", place=Place(PlaceKind.ACCOUNT, "bolt")))
    assert (await polled(kit, watcher)).limits == ()


async def test_a_second_node_is_told_what_the_first_one_was(kit: Kit) -> None:
    """As of now."""
    await kit.service("chat", postpaid=True)
    await store(kit, RULE)
    await watching(kit, CHAT)
    _, first = await watching(kit, CHAT, node="node-b")
    assert told(first)[ACME] == [RULE.name]


async def test_whoever_follows_nothing_of_an_account_any_more_is_told_again(kit: Kit) -> None:
    """With the next service of it; between them nothing is said."""
    await kit.service("chat", postpaid=True)
    await kit.service("code", postpaid=True)
    watcher, _ = await watching(kit, CHAT, CODE)
    kit.feed.unsubscribe(watcher, [CHAT])
    await store(kit, RULE)
    assert told(await polled(kit, watcher)) == {ACME: [RULE.name]}
    kit.feed.unsubscribe(watcher, [CODE])
    await store(kit, replace(RULE, limit_units=90))
    assert (await polled(kit, watcher)).limits == ()
    await kit.feed.subscribe(watcher, [CODE])
    assert told(await read(watcher))[ACME] == [RULE.name]


async def test_a_raise_that_ends_is_told(kit: Kit) -> None:
    """With the amount of then, and no new version."""
    await kit.service("chat", postpaid=True)
    await store(kit, replace(BUDGET, raised_units=2_000, raised_until_us=kit.now_us + 10 * 10**6))
    watcher, first = await watching(kit, CHAT)

    def amounts(update: Update) -> list[int]:
        message = encode_update(update, 0, kit.now_us)
        return [limit.amount_units for one in message.account_limits for limit in one.limits]

    assert amounts(first) == [2_000]
    kit.clock.advance(9)
    assert amounts(await polled(kit, watcher)) == []
    kit.clock.advance(1)
    update = await polled(kit, watcher)
    assert amounts(update) == [1_000]
    assert update.limits[0].version == first.limits[0].version
    assert amounts(await polled(kit, watcher)) == []


async def test_a_period_is_told_when_it_comes_near_and_when_it_has_begun(kit: Kit) -> None:
    """In how long it begins and ends, by control's clock."""
    await kit.service("chat", postpaid=True)
    await store(kit, BUDGET)
    watcher, first = await watching(kit, CHAT)
    rest_s = (DAY - kit.now_us % DAY) // 10**6

    def periods(update: Update) -> list[tuple[bool, int, int]]:
        """Whether each has begun, and the seconds until it begins and ends."""
        message = encode_update(update, 0, kit.now_us)
        found = [period for one in message.account_limits for limit in one.limits for period in limit.periods]
        return [(not one.HasField("starts_after"), one.starts_after.seconds, one.ends_after.seconds) for one in found]

    assert periods(first) == [(True, 0, rest_s)]
    near_s = NEAR_US // 10**6
    kit.clock.advance(rest_s - near_s)
    assert periods(await polled(kit, watcher)) == [(True, 0, near_s), (False, near_s, near_s + DAY_S)]
    assert periods(await polled(kit, watcher)) == []
    kit.clock.advance(near_s)
    assert periods(await polled(kit, watcher)) == [(True, 0, DAY_S)]
    kit.clock.advance(DAY_S - near_s)
    assert periods(await polled(kit, watcher)) == [(True, 0, near_s), (False, near_s, near_s + DAY_S)]


async def test_services_wait_for_limits_that_need_several_messages(kit: Kit, monkeypatch: pytest.MonkeyPatch) -> None:
    """No service comes before the limits of its account and model."""
    monkeypatch.setattr(followed_limits, "LIMITS_PER_UPDATE", 1)
    await kit.service("chat", postpaid=True)
    watcher, first = await watching(kit, CHAT)
    second = await read(watcher)
    assert (len(first.limits), first.services) == (1, ())
    assert (len(second.limits), len(second.services)) == (1, 1)
    assert second.version > first.version


async def test_a_service_whose_limits_cannot_be_read_is_not_told(kit: Kit) -> None:
    """It would pass everything. Services of others are told, and this one once its limits can be read."""
    await kit.account("bolt")
    await kit.service("chat", postpaid=True)
    await kit.service("talk", account_id="bolt", postpaid=True)
    await store(kit, BUDGET)
    async with kit.database._engine.begin() as connection:
        await connection.execute(text("UPDATE budgets SET time_zone = 'Mars/Olympus'"))
    watcher, first = await watching(kit, CHAT, "accounts/bolt/services/talk")
    assert [config.name for config in first.services] == ["accounts/bolt/services/talk"]
    async with kit.database._engine.begin() as connection:
        await connection.execute(text("UPDATE budgets SET time_zone = 'UTC'"))
    await kit.service("code", postpaid=True)
    update = await polled(kit, watcher)
    assert [config.name for config in update.services] == [CHAT]
    assert told(update) == {ACME: [BUDGET.name]}


async def test_a_service_that_stops_is_told_though_its_limits_cannot_be_read(kit: Kit) -> None:
    """It lets nothing in, whatever its limits are; once it lets in again it waits for them."""
    service = await kit.service("chat", postpaid=True)
    await store(kit, BUDGET)
    watcher, _ = await watching(kit, CHAT)
    async with kit.database._engine.begin() as connection:
        await connection.execute(text("UPDATE budgets SET time_zone = 'Mars/Olympus'"))
    async with kit.database.writing() as tx:
        await note_limits(tx, BUDGET.place.subject)
    await polled(kit, watcher)
    stopped = await kit.change(service, postpaid=PostpaidState.DISABLED)
    (config,) = (await polled(kit, watcher)).services
    assert config.terms is not None
    assert config.terms.status is Status.STOPPED

    await kit.change(stopped, postpaid=PostpaidState.ENABLED)
    assert (await polled(kit, watcher)).services == ()


async def test_everything_is_told_again_when_the_clock_was_set_back(kit: Kit) -> None:
    """What nodes were told by a clock ahead would end too early."""
    await kit.service("chat", postpaid=True)
    await store(kit, BUDGET)
    watcher, _ = await watching(kit, CHAT)
    kit.clock.jump(us=-3_600 * 10**6)
    assert told(await polled(kit, watcher))[ACME] == [BUDGET.name]
    assert (await polled(kit, watcher)).limits == ()


async def test_a_limit_is_told_as_nodes_need_it(kit: Kit) -> None:
    """What it hangs on, which pot it has, what counts."""
    await kit.service("chat", postpaid=True)
    on_chat = Place(PlaceKind.SERVICE, "acme", "chat", "uid-acme-chat")
    slots = replace(RULE, uid="uid-s", rule_id="s", metric=RateMetric.CONCURRENT_REQUESTS, period_us=0, burst_units=0)
    money = replace(BUDGET, unit=BudgetUnit.MONEY, period=BudgetPeriod.IN_ALL, soft=True)
    await store(kit, replace(RULE, place=on_chat, dry_run=True, model_id="llama"), slots, money)
    _, first = await watching(kit, CHAT)
    budget, rate, slot = encode_update(first, 0, kit.now_us).account_limits[0].limits
    assert (rate.place, rate.place_uid, rate.model) == (CHAT, "uid-acme-chat", "models/llama")
    assert (rate.limit_units, rate.period.seconds, rate.burst_units, rate.only_counts) == (60, 60, 6, True)
    assert (rate.pot_kind, rate.metric) == (pot_pb2.POT_KIND_RATE, limit_config_pb2.RATE_METRIC_REQUESTS)
    assert (slot.pot_kind, slot.HasField("period")) == (pot_pb2.POT_KIND_SLOTS, False)
    assert (budget.pot_kind, budget.only_counts) == (pot_pb2.POT_KIND_BUDGET_MONEY, True)
    assert (budget.amount_units, budget.limit, budget.place) == (1_000, BUDGET.name, "accounts/acme")
    (for_ever,) = budget.periods
    assert [field.name for field, _ in for_ever.ListFields()] == []


async def test_a_feed_that_nobody_follows_asks_for_no_limits(kit: Kit) -> None:
    """What a stream followed is forgotten with the stream."""
    await kit.service("chat", postpaid=True)
    watcher, _ = await watching(kit, CHAT)
    assert not kit.feed._limits.is_idle
    kit.feed.close(watcher)
    assert kit.feed._limits.is_idle
    assert kit.feed._limits._due_us == {}
    assert Kit(kit.database, kit.clock, NO_CREDENTIALS).feed._limits.is_idle
