"""Rate rules and budgets as rows, on both databases."""

from dataclasses import replace

import pytest

from control_service.domain.errors import ResourceExistsError
from control_service.domain.limit import (
    Budget,
    BudgetPeriod,
    BudgetUnit,
    Limit,
    LimitMember,
    LimitSubject,
    Place,
    PlaceKind,
    RateMetric,
    RateRule,
)
from control_service.usecases.limit_ports import LimitFilter
from tests.harness.control.people_harness import Desk

ACME = LimitSubject("acme")
LLAMA = LimitSubject(model_id="llama")
ON_ACME = Place(PlaceKind.ACCOUNT, "acme")
ON_BLUE = Place(PlaceKind.TEAM, "acme", "blue", "blue")
ON_LLAMA = Place(PlaceKind.MODEL, resource_id="llama")


def rule(rule_id: str, place: Place = ON_ACME) -> RateRule:
    uid = f"uid-{place.subject.name}-{rule_id}"
    return RateRule(rule_id, uid, place, RateMetric.REQUESTS, 60, 60_000_000, 6, "llama", True, 1, 2)


def budget(budget_id: str, place: Place = ON_ACME) -> Budget:
    return Budget(
        budget_id=budget_id,
        uid=f"uid-{place.account_id}-{budget_id}",
        place=place,
        unit=BudgetUnit.TOKENS,
        amount_units=1_000,
        period=BudgetPeriod.WEEK,
        time_zone="Europe/Berlin",
        member=LimitMember.EACH_KEY,
        soft=True,
        raised_units=2_000,
        raised_until_us=5,
        initial_spent_units=7,
        threshold_percents=(50, 80, 100),
        create_us=1,
        update_us=2,
    )


async def store(desk: Desk, *limits: Limit) -> None:
    async with desk.database.writing() as tx:
        for limit in limits:
            await (tx.rate_rules.add(limit) if isinstance(limit, RateRule) else tx.budgets.add(limit))


async def page_ids(desk: Desk, wanted: LimitFilter, after: str = "", limit: int = 10) -> tuple[list[str], list[str]]:
    """Ids of rules and of budgets."""
    async with desk.database.reading() as tx:
        rules = await tx.rate_rules.page(wanted, after, limit)
        budgets = await tx.budgets.page(wanted, after, limit)
    return [one.rule_id for one in rules], [one.budget_id for one in budgets]


async def test_what_is_stored_is_found_again(desk: Desk) -> None:
    """Every field, and after a change as well."""
    await store(desk, rule("a"), rule("a", ON_LLAMA), budget("a"))
    async with desk.database.writing() as tx:
        assert await tx.rate_rules.find(ACME, "a") == rule("a")
        assert await tx.rate_rules.find(LLAMA, "a") == rule("a", ON_LLAMA)
        assert await tx.budgets.find("acme", "a") == budget("a")
        changed = replace(budget("a"), amount_units=9, raised_until_us=None, threshold_percents=(), delete_us=8)
        await tx.budgets.save(changed)
        await tx.rate_rules.save(replace(rule("a"), limit_units=9, dry_run=False))
    async with desk.database.reading() as tx:
        assert await tx.budgets.find("acme", "a") == changed
        assert await tx.rate_rules.find(ACME, "a") == replace(rule("a"), limit_units=9, dry_run=False)
        assert await tx.rate_rules.find(LLAMA, "a") == rule("a", ON_LLAMA)
        assert await tx.rate_rules.find(ACME, "b") is None
        assert await tx.budgets.find("bolt", "a") is None


async def test_a_name_is_stored_once(desk: Desk) -> None:
    """Tombstones keep theirs."""
    await store(desk, replace(rule("a"), delete_us=3), budget("a"))
    with pytest.raises(ResourceExistsError, match="accounts/acme/rateRules/a"):
        await store(desk, replace(rule("a"), uid="other"))
    with pytest.raises(ResourceExistsError, match="accounts/acme/budgets/a"):
        await store(desk, replace(budget("a"), uid="other"))


async def test_limits_are_found_by_uid_for_the_accounts_that_they_bind(desk: Desk) -> None:
    """A model's rules bind every account; those of another account and deleted ones are left out."""
    mine, models, spent = rule("a"), rule("a", ON_LLAMA), budget("a")
    others: list[Limit] = [rule("a", Place(PlaceKind.ACCOUNT, "bolt")), budget("a", Place(PlaceKind.ACCOUNT, "bolt"))]
    gone: list[Limit] = [replace(rule("gone"), delete_us=3), replace(budget("gone"), delete_us=3)]
    await store(desk, mine, models, spent, *others, *gone)
    uids = [one.uid for one in (mine, models, spent, *others, *gone)]
    async with desk.database.reading() as tx:
        assert await tx.limits.find("acme", uids) == {one.uid: one for one in (mine, models, spent)}
        assert await tx.limits.find("new", uids) == {models.uid: models}
        assert await tx.limits.find("acme", []) == {}


async def test_limits_in_force_are_read_by_account_and_model(desk: Desk) -> None:
    """Whole, in one order; nobody else's, and no deleted ones."""
    bolt = rule("a", Place(PlaceKind.ACCOUNT, "bolt"))
    await store(desk, rule("b"), rule("a"), budget("a"), replace(rule("c"), delete_us=3), bolt, rule("a", ON_LLAMA))
    async with desk.database.reading() as tx:
        found = await tx.limits.in_force([ACME, LLAMA, LimitSubject("new")])
        assert found == {ACME: [rule("a"), rule("b"), budget("a")], LLAMA: [rule("a", ON_LLAMA)]}
        assert await tx.limits.in_force([LLAMA]) == {LLAMA: [rule("a", ON_LLAMA)]}
        assert (await tx.limits.count(ACME), await tx.limits.count(LLAMA)) == (3, 1)
        assert (await tx.limits.count_on(ON_ACME), await tx.limits.count_on(ON_BLUE)) == (3, 0)


async def test_what_hangs_on_one_place_is_listed_counted_and_ended(desk: Desk) -> None:
    """Of one team alone."""
    await store(desk, rule("a"), rule("b", ON_BLUE), budget("b", ON_BLUE), budget("c", ON_BLUE))
    assert await page_ids(desk, LimitFilter(ACME, ON_BLUE)) == (["b"], ["b", "c"])
    assert await page_ids(desk, LimitFilter(ACME), after="a") == (["b"], ["b", "c"])
    assert await page_ids(desk, LimitFilter(ACME), limit=1) == (["a"], ["b"])
    async with desk.database.writing() as tx:
        assert await tx.limits.count_on(ON_BLUE) == 3
        assert await tx.limits.end_on(ON_BLUE, 9) == 3
        assert await tx.limits.end_on(ON_BLUE, 10) == 0
    assert await page_ids(desk, LimitFilter(ACME)) == (["a"], [])
    async with desk.database.reading() as tx:
        ended = await tx.budgets.find("acme", "b")
    assert ended == replace(budget("b", ON_BLUE), delete_us=9, update_us=9)


async def test_whoever_sees_teams_sees_what_hangs_on_them_and_in_them(desk: Desk) -> None:
    """The account's own, and other teams', are left out."""
    await desk.create_team("blue")
    service = (await desk.create("chat", team="blue")).service
    other = (await desk.create("other")).service
    on_services = [Place(PlaceKind.SERVICE, "acme", one.service_id, one.uid) for one in (service, other)]
    await store(desk, rule("a"), rule("b", ON_BLUE), rule("c", on_services[0]), budget("d", on_services[1]))
    assert await page_ids(desk, LimitFilter(ACME, team_ids=frozenset({"blue"}))) == (["b", "c"], [])
    assert await page_ids(desk, LimitFilter(ACME, team_ids=frozenset())) == ([], [])


async def test_what_changed_is_found_by_version(desk: Desk) -> None:
    """The last version of each counts."""
    async with desk.database.writing() as tx:
        await tx.limits.note(ACME, 5)
        await tx.limits.note(LLAMA, 6)
        await tx.limits.note(ACME, 7)
    async with desk.database.reading() as tx:
        assert await tx.limits.changed(0) == {ACME, LLAMA}
        assert await tx.limits.changed(6) == {ACME}
        assert await tx.limits.changed(7) == set()
