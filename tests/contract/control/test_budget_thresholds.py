"""Thresholds that a budget comes to without being spent any further: by another amount, or by the end of a raise."""

import pytest
import pytest_asyncio

from control_service.domain.alert import AlertKind
from control_service.domain.limit import Budget, BudgetPeriod, LimitMember
from control_service.usecases.limits.budgets import BudgetUpdate, Raise, delete_budget, update_budget
from control_service.usecases.upkeep.sweeper import OBSERVATION_S, TICK_S
from tests.harness.control.alerts import alerts_of, figures_of
from tests.harness.control.fleet_harness import FleetNode, Kit
from tests.harness.control.limits import OPERATOR, Budgets, exchange
from tests.harness.control.people_harness import Desk

SECOND_US = 1_000_000


async def spent(node: FleetNode, units: int, period: BudgetPeriod = BudgetPeriod.IN_ALL) -> Budget:
    """A budget of 1,000 of which so much is spent."""
    budget = await Budgets(node.kit.database, node.kit.clock).make(1_000, period=period, thresholds=(50, 80, 100))
    await spend(node, budget, units)
    return budget


async def spend(node: FleetNode, budget: Budget, units: int, *, member: str = "") -> None:
    """So much of it was spent in all."""
    key = Budgets(node.kit.database, node.kit.clock).key(budget, member=member)
    await exchange(node, budget, key, needed_units=1_000)
    await exchange(node, budget, key, consumed_units=units)


@pytest.fixture
def desk(kit: Kit) -> Desk:
    """People on the kit's clock."""
    return Desk(kit.database, kit.clock)


@pytest_asyncio.fixture
async def node(kit: Kit) -> FleetNode:
    """The node that spends."""
    return await kit.node()


async def change(desk: Desk, budget: Budget, **facts: object) -> None:
    """What somebody does to a budget."""
    update = BudgetUpdate(**facts)  # type: ignore[arg-type]  # the test knows its facts
    budget_id = budget.budget_id
    await desk.of_account(lambda tx, _, act: update_budget(tx, "acme", budget_id, update, asker=OPERATOR, act=act))


async def told(kit: Kit) -> list[int]:
    """The thresholds that were told of."""
    return await figures_of(kit.database, AlertKind.BUDGET_THRESHOLD, "threshold_percent")


@pytest.mark.parametrize("period", [BudgetPeriod.IN_ALL, BudgetPeriod.DAY])
async def test_a_lowered_amount_tells_at_once_of_the_furthest_threshold_and_once(
    kit: Kit, desk: Desk, node: FleetNode, period: BudgetPeriod
) -> None:
    """With its figures; the next tokens tell nothing more."""
    budget = await spent(node, 400, period)
    await change(desk, budget, amount_units=500)
    assert await told(kit) == [80]
    (alert,) = await alerts_of(kit.database, AlertKind.BUDGET_THRESHOLD)
    assert (alert.content.figures["spent_units"], alert.content.figures["amount_units"]) == (400, 500)

    await change(desk, budget, amount_units=499)
    await spend(node, budget, 401)

    assert await told(kit) == [80]
    await change(desk, budget, amount_units=0)
    assert await told(kit) == [80, 100]


async def test_a_greater_amount_arms_what_it_falls_behind_and_other_thresholds_tell_at_once(
    kit: Kit, desk: Desk, node: FleetNode
) -> None:
    """As with the next tokens."""
    budget = await spent(node, 400)
    await change(desk, budget, amount_units=500)
    await change(desk, budget, amount_units=1_000)
    await change(desk, budget, amount_units=500)
    assert await told(kit) == [80, 80]
    await change(desk, budget, threshold_percents=(50, 75))
    await change(desk, budget, threshold_percents=(50, 78))
    assert await told(kit) == [80, 80, 78]


async def test_each_member_is_told_of(kit: Kit, desk: Desk, node: FleetNode) -> None:
    """Those that have spent so much."""
    budgets = Budgets(kit.database, kit.clock)
    budget = await budgets.make(1_000, member=LimitMember.EACH_KEY, thresholds=(80, 100))
    for member, units in (("key-a", 400), ("key-b", 500), ("key-c", 10)):
        await spend(node, budget, units, member=member)
    await change(desk, budget, amount_units=500)
    alerts = await alerts_of(kit.database, AlertKind.BUDGET_THRESHOLD)
    assert [(one.content.words["member_uid"], one.content.figures["threshold_percent"]) for one in alerts] == [
        ("key-a", 80),
        ("key-b", 100),
    ]


async def test_the_end_of_a_raise_tells_at_once(kit: Kit, desk: Desk, node: FleetNode) -> None:
    """The sweeper is woken by it, once."""
    budget = await spent(node, 400)
    await change(desk, budget, amount_units=500, temporary_raise=Raise(2_000, kit.now_us + 10 * SECOND_US))
    await kit.sweeper.turn()
    await kit.sweeper.turn()
    assert await told(kit) == []

    kit.clock.advance(9)
    await kit.sweeper.turn()
    assert await told(kit) == []
    kit.clock.advance(1)
    assert await kit.sweeper.turn() == TICK_S

    assert await told(kit) == [80]
    assert await kit.sweeper.turn() == OBSERVATION_S
    assert await told(kit) == [80]


async def test_an_end_that_does_not_come_tells_nothing(kit: Kit, desk: Desk, node: FleetNode) -> None:
    """The raise was put off, or the budget deleted."""
    budget = await spent(node, 400)
    end_us = kit.now_us + 10 * SECOND_US
    await change(desk, budget, amount_units=500, temporary_raise=Raise(2_000, end_us))
    await change(desk, budget, temporary_raise=Raise(2_000, end_us + 20 * SECOND_US))
    kit.clock.advance(11)
    await kit.sweeper.tick()
    assert await told(kit) == []
    await desk.of_account(lambda tx, _, act: delete_budget(tx, "acme", budget.budget_id, OPERATOR, act))
    kit.clock.advance(20)
    await kit.sweeper.turn()
    assert await told(kit) == []
    assert await kit.sweeper.turn() == OBSERVATION_S


async def test_an_end_that_a_clock_ahead_has_dealt_with_comes_again(kit: Kit, desk: Desk, node: FleetNode) -> None:
    """With the clock set right, the budget goes on with its raise, and its end is told of."""
    budget = await spent(node, 400)
    await change(desk, budget, amount_units=500, temporary_raise=Raise(2_000, kit.now_us + 60 * SECOND_US))
    await kit.sweeper.turn()
    kit.clock.jump(us=3_600 * SECOND_US)
    await kit.sweeper.turn()
    assert await told(kit) == [80]
    kit.clock.jump(us=-3_600 * SECOND_US)
    await kit.sweeper.turn()
    await spend(node, budget, 400)
    kit.clock.advance(60)

    await kit.sweeper.turn()

    assert await told(kit) == [80, 80]
