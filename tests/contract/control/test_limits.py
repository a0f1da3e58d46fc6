"""Limits as people set, change and end them, on both databases."""

from dataclasses import replace

import pytest

from control_service.domain.api_key import ApiKey
from control_service.domain.asker import Asker
from control_service.domain.errors import (
    DeniedError,
    InvalidRequestError,
    Reason,
    RefusedError,
    ResourceExistsError,
    ResourceNotFoundError,
)
from control_service.domain.limit import (
    Budget,
    BudgetPeriod,
    BudgetUnit,
    LimitMember,
    LimitSubject,
    Place,
    PlaceKind,
    RateMetric,
    RateRule,
)
from control_service.usecases.keys.key_changes import delete_key
from control_service.usecases.limit_ports import LimitFilter
from control_service.usecases.limits import places
from control_service.usecases.limits.budgets import (
    BudgetUpdate,
    BudgetView,
    NewBudget,
    Raise,
    create_budget,
    delete_budget,
    get_budget,
    update_budget,
)
from control_service.usecases.limits.rate_rules import (
    NewRateRule,
    RateRuleUpdate,
    create_rate_rule,
    delete_rate_rule,
    get_rate_rule,
    update_rate_rule,
)
from control_service.usecases.people.services import delete_service
from control_service.usecases.people.teams import delete_team
from tallygate._access.rights import Right, Rights
from tallygate._access.role import Role
from tallygate._access.scope import Scope
from tests.harness.control.api_keys import put
from tests.harness.control.limits import OPERATOR
from tests.harness.control.people_harness import DEFAULT, Desk

ACME, LLAMA = LimitSubject("acme"), LimitSubject(model_id="llama")
ON_ACME = Place(PlaceKind.ACCOUNT, "acme")
ON_BLUE = Place(PlaceKind.TEAM, "acme", "blue")
ON_CHAT = Place(PlaceKind.SERVICE, "acme", "chat")
ON_KEY = Place(PlaceKind.KEY, "acme", "ci")
ON_LLAMA = Place(PlaceKind.MODEL, resource_id="llama")
LEAD = Asker("person:lead", (), Rights((Right(Role.TEAM_ADMIN, Scope("acme", "blue")),)))
OWNER = Asker("person:owner", (), Rights((Right(Role.OWNER, Scope("acme")),)))
PRICING = Asker("person:pricing", (), Rights((Right(Role.PRICING, Scope()),)))
DAY = 86_400 * 10**6
NEW_RULE = NewRateRule("r", ON_ACME, RateMetric.TOTAL_TOKENS, 60_000)
NEW_BUDGET = NewBudget("b", ON_ACME, BudgetUnit.TOKENS, 1_000, BudgetPeriod.DAY, "UTC", LimitMember.SHARED)


async def make_rule(desk: Desk, new: NewRateRule = NEW_RULE, asker: Asker = OPERATOR) -> RateRule:
    if new.place.kind is PlaceKind.MODEL:
        return await desk.of_globals(lambda tx, act: create_rate_rule(tx, new, asker, act))
    return await desk.of_account(lambda tx, _, act: create_rate_rule(tx, new, asker, act))


async def change_rule(desk: Desk, update: RateRuleUpdate, asker: Asker = OPERATOR) -> RateRule:
    return await desk.of_account(lambda tx, _, act: update_rate_rule(tx, ACME, "r", update, asker=asker, act=act))


async def end_rule(desk: Desk, asker: Asker = OPERATOR) -> RateRule:
    return await desk.of_account(lambda tx, _, act: delete_rate_rule(tx, ACME, "r", asker, act))


async def make_budget(desk: Desk, new: NewBudget = NEW_BUDGET, asker: Asker = OPERATOR) -> BudgetView:
    return await desk.of_account(lambda tx, _, act: create_budget(tx, new, asker, act))


async def change_budget(desk: Desk, update: BudgetUpdate, asker: Asker = OPERATOR) -> BudgetView:
    return await desk.of_account(lambda tx, _, act: update_budget(tx, "acme", "b", update, asker=asker, act=act))


async def end_budget(desk: Desk, asker: Asker = OPERATOR) -> Budget:
    return await desk.of_account(lambda tx, _, act: delete_budget(tx, "acme", "b", asker, act))


async def show_budget(desk: Desk, asker: Asker = OPERATOR) -> BudgetView:
    async with desk.database.reading() as tx:
        return await get_budget(tx, "acme", "b", asker, desk.now_us)


async def version_of(desk: Desk, subject: LimitSubject) -> int:
    """The version with which limits of this account or model changed last; 0 for never."""
    async with desk.database.reading() as tx:
        version = await tx.config_version()
        while version and subject not in await tx.limits.changed(version - 1):
            version -= 1
        return version


async def test_a_rule_is_made_changed_and_ended(desk: Desk) -> None:
    """Each is a change that nodes are told of; one that changes nothing is none."""
    made = await make_rule(desk)
    assert (made.period_us, made.burst_units, made.create_us) == (60 * 10**6, 60_000, desk.now_us)
    created = await version_of(desk, ACME)
    assert created > 0
    changed = await change_rule(desk, RateRuleUpdate(limit_units=120_000, dry_run=True))
    assert (changed.limit_units, changed.burst_units, changed.dry_run) == (120_000, 120_000, True)
    updated = await version_of(desk, ACME)
    assert updated > created
    await change_rule(desk, RateRuleUpdate(limit_units=120_000))
    assert await version_of(desk, ACME) == updated
    assert (await end_rule(desk)).deleted
    assert await version_of(desk, ACME) > updated
    async with desk.database.reading() as tx:
        assert (await get_rate_rule(tx, ACME, "r", OPERATOR)).deleted
        assert await tx.limits.in_force([ACME]) == {}


async def test_a_burst_that_was_said_stays_and_must_still_fit(desk: Desk) -> None:
    """One that was the default goes on being the default."""
    await make_rule(desk, replace(NEW_RULE, burst_units=50_000))
    assert (await change_rule(desk, RateRuleUpdate(limit_units=55_000))).burst_units == 50_000
    with pytest.raises(InvalidRequestError, match="burst_units"):
        await change_rule(desk, RateRuleUpdate(limit_units=40_000))
    assert (await change_rule(desk, RateRuleUpdate(limit_units=40_000, burst_units=0))).burst_units == 40_000


async def test_a_burst_holds_the_smallest_request_of_the_model_that_counts(desk: Desk) -> None:
    """Of a model's rule, of a service's, and of one that names its model."""
    await desk.create()
    for new in (
        replace(NEW_RULE, place=ON_LLAMA),
        replace(NEW_RULE, place=ON_CHAT),
        replace(NEW_RULE, model_id="llama"),
    ):
        with pytest.raises(InvalidRequestError, match="smallest request"):
            await make_rule(desk, replace(new, burst_units=15))
    assert (await make_rule(desk, replace(NEW_RULE, burst_units=15))).burst_units == 15


async def test_a_rule_of_a_model_is_none_of_an_accounts(desk: Desk) -> None:
    """The same id may be in both, and each is told to those who follow it."""
    rule = await make_rule(desk, replace(NEW_RULE, place=ON_LLAMA))
    assert rule.name == "models/llama/rateRules/r"
    assert (await version_of(desk, LLAMA), await version_of(desk, ACME)) == (await desk.version(), 0)
    assert (await make_rule(desk)).name == "accounts/acme/rateRules/r"


@pytest.mark.parametrize(
    "place",
    [
        Place(PlaceKind.SERVICE, "acme", "none"),
        Place(PlaceKind.SERVICE, "acme", "default-none"),
        Place(PlaceKind.TEAM, "acme", "none"),
        Place(PlaceKind.KEY, "acme", "none"),
    ],
)
async def test_nothing_hangs_on_what_is_not_there(desk: Desk, place: Place) -> None:
    """The field is named."""
    with pytest.raises(InvalidRequestError, match="place"):
        await make_rule(desk, replace(NEW_RULE, place=place))
    with pytest.raises(InvalidRequestError, match="place"):
        await make_budget(desk, replace(NEW_BUDGET, place=place))


async def test_a_limit_hangs_on_a_default_service_that_nobody_stored(desk: Desk) -> None:
    """By the unique id that it will always have."""
    made = await make_rule(desk, replace(NEW_RULE, place=Place(PlaceKind.SERVICE, "acme", DEFAULT)))
    assert made.place.uid == (await desk.show(DEFAULT)).service.uid


async def test_names_of_limits_are_never_used_again(desk: Desk) -> None:
    """A deleted limit leaves a tombstone, which is neither changed nor deleted again."""
    await make_rule(desk)
    await make_budget(desk)
    for _ in range(2):
        with pytest.raises(ResourceExistsError):
            await make_rule(desk)
        with pytest.raises(ResourceExistsError):
            await make_budget(desk)
        if (await show_budget(desk)).budget.deleted:
            break
        await end_rule(desk)
        await end_budget(desk)
    for change in (
        end_rule(desk),
        end_budget(desk),
        change_rule(desk, RateRuleUpdate(dry_run=True)),
        change_budget(desk, BudgetUpdate(soft=True)),
    ):
        with pytest.raises(RefusedError) as caught:
            await change
        assert caught.value.reason is Reason.RESOURCE_DELETED


async def test_what_never_was_is_not_found(desk: Desk) -> None:
    """Neither a rule nor a budget."""
    for call in (
        show_budget(desk),
        end_budget(desk),
        end_rule(desk),
        change_rule(desk, RateRuleUpdate()),
        change_budget(desk, BudgetUpdate()),
    ):
        with pytest.raises(ResourceNotFoundError):
            await call


async def test_a_budget_below_what_is_spent_is_taken_and_says_what_that_stops(desk: Desk) -> None:
    """When it is made, and when it is lowered."""
    made = await make_budget(desk, replace(NEW_BUDGET, initial_spent_units=600))
    assert (made.standing.spent_units, made.standing.stops_requests) == (600, False)
    lowered = await change_budget(desk, BudgetUpdate(amount_units=500))
    assert (lowered.budget.amount_units, lowered.standing.spent_units) == (500, 600)
    assert lowered.standing.stops_requests
    assert lowered.standing.period_end_us == (desk.now_us // DAY + 1) * DAY
    assert not (await change_budget(desk, BudgetUpdate(soft=True))).standing.stops_requests


async def test_a_stated_figure_counts_in_the_first_period_only(desk: Desk) -> None:
    """The next one begins at nothing."""
    await make_budget(desk, replace(NEW_BUDGET, initial_spent_units=600))
    desk.clock.advance(86_400)
    assert (await show_budget(desk)).standing.spent_units == 0


async def test_a_raise_ends_by_itself_or_at_once(desk: Desk) -> None:
    """And is gone when the budget's own amount reaches it."""
    raised = Raise(5_000, desk.now_us + 2 * DAY)
    made = await make_budget(desk, replace(NEW_BUDGET, temporary_raise=raised))
    assert made.standing.amount_units == 5_000
    assert (await change_budget(desk, BudgetUpdate(amount_units=2_000))).budget.raised_units == 5_000
    assert (await change_budget(desk, BudgetUpdate(end_raise=True))).standing.amount_units == 2_000
    await change_budget(desk, BudgetUpdate(temporary_raise=raised))
    assert (await change_budget(desk, BudgetUpdate(amount_units=6_000))).budget.raised_until_us is None
    await change_budget(desk, BudgetUpdate(amount_units=1_000, temporary_raise=raised))
    desk.clock.advance(2 * 86_400)
    shown = await show_budget(desk)
    assert (shown.standing.amount_units, shown.budget.raised_until_us) == (1_000, None)
    with pytest.raises(InvalidRequestError, match="end_raise"):
        await change_budget(desk, BudgetUpdate(end_raise=True, temporary_raise=Raise(9_000, desk.now_us + 1)))


async def test_thresholds_are_kept_in_order(desk: Desk) -> None:
    """A change replaces them all."""
    made = await make_budget(desk, replace(NEW_BUDGET, threshold_percents=(100, 50)))
    assert made.budget.threshold_percents == (50, 100)
    assert (await change_budget(desk, BudgetUpdate(threshold_percents=()))).budget.threshold_percents == ()


async def test_what_is_deleted_ends_its_limits(desk: Desk) -> None:
    """A service and a team; nodes are told, and others' limits stay."""
    await desk.create_team("blue")
    await desk.create()
    await make_rule(desk, replace(NEW_RULE, place=ON_CHAT))
    await make_rule(desk, replace(NEW_RULE, rule_id="s", place=ON_BLUE))
    await make_budget(desk)
    before = await version_of(desk, ACME)
    await desk.change(delete_service)
    assert await version_of(desk, ACME) > before
    await desk.of_account(lambda tx, account, act: delete_team(tx, account, "blue", act))
    async with desk.database.reading() as tx:
        left = await tx.limits.in_force([ACME])
        assert (await get_rate_rule(tx, ACME, "r", OPERATOR)).delete_us == desk.now_us
    assert [limit.name for limit in left[ACME]] == ["accounts/acme/budgets/b"]


async def test_limits_are_so_many_at_most(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    """On one place, and in an account."""
    monkeypatch.setattr(places, "LIMITS_ON_PLACE_MAX", 2)
    monkeypatch.setattr(places, "LIMITS_OF_SUBJECT_MAX", 3)
    await desk.create()
    await make_rule(desk)
    await make_budget(desk)
    with pytest.raises(InvalidRequestError, match="2 limits"):
        await make_rule(desk, replace(NEW_RULE, rule_id="s"))
    await make_rule(desk, replace(NEW_RULE, rule_id="s", place=ON_CHAT))
    with pytest.raises(InvalidRequestError, match="3 limits"):
        await make_budget(desk, replace(NEW_BUDGET, budget_id="c", place=ON_CHAT))
    await end_budget(desk)
    await make_budget(desk, replace(NEW_BUDGET, budget_id="c", place=ON_CHAT))


async def team_stage(desk: Desk) -> None:
    """A team with a service, a budget on each, and a budget on the account."""
    await desk.create_team("blue")
    await desk.create(team="blue")
    await make_budget(desk, replace(NEW_BUDGET, place=ON_BLUE))


async def test_a_teams_lead_cannot_raise_the_teams_own_budget(desk: Desk) -> None:
    """Nor end it, nor make another; reading it is the lead's right."""
    await team_stage(desk)
    for change in (
        change_budget(desk, BudgetUpdate(amount_units=2_000), LEAD),
        change_budget(desk, BudgetUpdate(temporary_raise=Raise(9_000, desk.now_us + 1)), LEAD),
        end_budget(desk, LEAD),
        make_budget(desk, replace(NEW_BUDGET, budget_id="c", place=ON_BLUE), LEAD),
    ):
        with pytest.raises(DeniedError, match="LIMITS_MANAGE on accounts/acme;"):
            await change
    assert (await show_budget(desk, LEAD)).budget.amount_units == 1_000
    assert (await change_budget(desk, BudgetUpdate(amount_units=2_000), OWNER)).budget.amount_units == 2_000


async def test_a_teams_lead_sets_limits_on_what_is_in_the_team(desk: Desk) -> None:
    """On its services, and on nobody else's."""
    await team_stage(desk)
    await desk.create("other")
    await make_rule(desk, replace(NEW_RULE, place=ON_CHAT), LEAD)
    assert (await change_rule(desk, RateRuleUpdate(dry_run=True), LEAD)).dry_run
    for place in (ON_ACME, Place(PlaceKind.SERVICE, "acme", "other")):
        with pytest.raises(DeniedError):
            await make_rule(desk, replace(NEW_RULE, rule_id="s", place=place), LEAD)


async def test_an_owner_of_a_key_cannot_raise_its_budget(desk: Desk) -> None:
    """Owning a key is no right: its team's lead sets its limits, or whoever manages those of the account."""
    await desk.create_team("blue")
    await put(desk.database, ApiKey("acme", "ci", "uid-ci", team="blue", owner="person:holder"))
    holder = Asker("person:holder", (), Rights((Right(Role.TEAM_MEMBER, Scope("acme", "blue")),)))
    other_lead = Asker("person:other", (), Rights((Right(Role.TEAM_ADMIN, Scope("acme", "red")),)))
    made = await make_budget(desk, replace(NEW_BUDGET, place=ON_KEY), LEAD)
    assert made.budget.place.uid == "uid-ci"
    for change in (
        change_budget(desk, BudgetUpdate(amount_units=2_000), holder),
        change_budget(desk, BudgetUpdate(temporary_raise=Raise(9_000, desk.now_us + 1)), holder),
        end_budget(desk, holder),
        end_budget(desk, other_lead),
    ):
        with pytest.raises(DeniedError, match="LIMITS_MANAGE on accounts/acme/teams/blue"):
            await change
    assert (await show_budget(desk, holder)).budget.amount_units == 1_000
    async with desk.database.reading() as tx:
        seen = await tx.budgets.page(LimitFilter(ACME, team_ids=frozenset({"blue"})), "", 10)
        assert [budget.name for budget in seen] == ["accounts/acme/budgets/b"]
        assert await tx.budgets.page(LimitFilter(ACME, team_ids=frozenset({"red"})), "", 10) == []


async def test_a_key_that_is_deleted_ends_its_limits(desk: Desk) -> None:
    """Also a temporary one, when its time is over."""
    temporary = ApiKey("acme", "brief", "uid-brief", expire_us=desk.now_us, temporary=True)
    await put(desk.database, ApiKey("acme", "ci", "uid-ci"), temporary, ApiKey("acme", "stays", "uid-stays"))
    await make_budget(desk, replace(NEW_BUDGET, place=ON_KEY))
    on_brief, on_other = (Place(PlaceKind.KEY, "acme", key_id) for key_id in ("brief", "stays"))
    await make_rule(desk, replace(NEW_RULE, place=on_brief))
    await make_rule(desk, replace(NEW_RULE, rule_id="s", place=on_other))
    await desk.of_account(lambda tx, account, act: delete_key(tx, account, "ci", act))
    assert (await show_budget(desk)).budget.deleted
    async with desk.database.writing() as tx:
        await tx.api_keys.purge(desk.now_us + 366 * DAY, 10)
        assert (await get_rate_rule(tx, ACME, "r", OPERATOR)).delete_us == desk.now_us
        assert [one.name for one in (await tx.limits.in_force([ACME]))[ACME]] == ["accounts/acme/rateRules/s"]


async def test_a_limit_goes_with_its_service_to_another_team(desk: Desk) -> None:
    """Whoever leads the team of now decides."""
    await team_stage(desk)
    await make_rule(desk, replace(NEW_RULE, place=ON_CHAT), LEAD)
    async with desk.database.writing() as tx:
        service = await tx.services.find("acme", "chat")
        assert service is not None
        await tx.services.save(replace(service, team=""))
    with pytest.raises(DeniedError):
        await end_rule(desk, LEAD)


async def test_a_models_rules_are_set_by_who_manages_models(desk: Desk) -> None:
    """Not by an owner of an account, whose limits they are not."""
    with pytest.raises(DeniedError, match="MODELS_MANAGE on platform"):
        await make_rule(desk, replace(NEW_RULE, place=ON_LLAMA), OWNER)
    await make_rule(desk, replace(NEW_RULE, place=ON_LLAMA), PRICING)
    with pytest.raises(DeniedError):
        await make_rule(desk, NEW_RULE, PRICING)
