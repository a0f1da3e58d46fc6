"""Exchanges about budgets: one pot of a period, shared by all services of its account on all nodes."""

from dataclasses import replace

import pytest
from sqlalchemy import text

from control_service.domain.limit import BudgetPeriod, BudgetUnit, LimitMember
from control_service.domain.limit_pot import BEGINS_EARLY_US, LEASABLE_AFTER_END_US
from control_service.domain.pot import USED_UNITS_MAX, PotKind
from control_service.domain.recall import Availability
from control_service.usecases.fault_isolation import SET_ASIDE_NS
from control_service.usecases.limits.standing import standing_of
from tests.harness.control.fleet_harness import Kit
from tests.harness.control.limits import Budgets, exchange, lease_id, state

US = 1_000_000
TRIAL = PotKind.TRIAL


@pytest.fixture
def budgets(kit: Kit) -> Budgets:
    """The budgets of the kit's database."""
    return Budgets(kit.database, kit.clock)


async def test_a_budget_is_granted_consumed_and_returned(kit: Kit, budgets: Budgets) -> None:
    """The first lease makes the pot; the books agree at every step."""
    budget, node = await budgets.make(1_000, unit=BudgetUnit.MONEY), await kit.node()
    key = budgets.key(budget)
    answer = await exchange(node, budget, key, wanted_units=200, needed_units=100)
    assert (answer.granted_units, answer.availability) == (200, Availability.AVAILABLE)
    assert (answer.available_units, answer.leased_elsewhere_units) == (800, 0)
    await budgets.assert_conserved(key)
    await exchange(node, budget, key, consumed_units=150, held_units=20)
    await budgets.assert_conserved(key)
    answer = await exchange(node, budget, key, consumed_units=170, closing=True)
    assert answer.closed
    pot = await budgets.pot(key)
    assert (pot.spent_units, pot.leased_units, pot.available_units) == (170, 0, 830)
    await budgets.assert_conserved(key)
    account = await kit.read_account()
    assert (account.spent_nanos, account.leased_nanos) == (0, 0)


async def test_payers_and_budgets_are_settled_in_one_exchange(kit: Kit, budgets: Budgets) -> None:
    """Statements of both kinds stand side by side, and each is answered in its place."""
    service, budget, node = await kit.service(trial_tokens=1_000), await budgets.make(500), await kit.node()
    key = budgets.key(budget)
    answers = await node.exchange(
        node.state(service, TRIAL, needed_units=100),
        state(node, budget, key, needed_units=90),
        node.state(service, PotKind.MONEY, consumed_units=7),
    )
    assert [answer.granted_units for answer in answers] == [100, 90, 0]
    await kit.assert_conserved(service)
    await budgets.assert_conserved(key)


async def test_what_is_said_again_counts_once(kit: Kit, budgets: Budgets) -> None:
    """Counters merge by maximum, of leases on limits as of any other."""
    budget, node = await budgets.make(1_000), await kit.node()
    key = budgets.key(budget)
    await exchange(node, budget, key, needed_units=500)
    for consumed in (300, 300, 100, 300):
        await exchange(node, budget, key, consumed_units=consumed)
        await budgets.assert_conserved(key)
    assert (await budgets.pot(key)).spent_units == 300


async def test_one_node_may_get_all_and_the_others_recall_it(kit: Kit, budgets: Budgets) -> None:
    """A need that meets units free on another node recalls them; EMPTY is confirmed when nothing is free anywhere."""
    budget, first, second = await budgets.make(1_000), await kit.node("node-a"), await kit.node("node-b")
    key = budgets.key(budget)
    assert (await exchange(first, budget, key, needed_units=1_000)).granted_units == 1_000
    answer = await exchange(second, budget, key, needed_units=10)
    assert (answer.availability, answer.leased_elsewhere_units) == (Availability.RECALLING, 1_000)
    recalled = [lease.lease_id for lease in await kit.read_leases() if lease.recall_requested_us]
    assert recalled == [lease_id(first, key)]
    await exchange(first, budget, key, held_units=995, returned_units=5)
    answer = await exchange(second, budget, key, needed_units=10)
    assert (answer.granted_units, answer.availability) == (5, Availability.EMPTY)
    await budgets.assert_conserved(key)


async def test_other_pots_of_the_limit_are_not_recalled(kit: Kit, budgets: Budgets) -> None:
    """Each member has its own pot, and what is free of one helps no other one."""
    budget = await budgets.make(100, member=LimitMember.EACH_KEY)
    node, other = await kit.node("node-a"), await kit.node("node-b")
    mine, its = budgets.key(budget, member="key-1"), budgets.key(budget, member="key-2")
    await exchange(node, budget, its, needed_units=100)
    await exchange(node, budget, mine, needed_units=100, held_units=100)
    await exchange(node, budget, mine, held_units=100)
    answer = await exchange(other, budget, mine, needed_units=10)
    assert answer.availability is Availability.EMPTY
    await budgets.assert_conserved(mine, its)


@pytest.mark.parametrize("member", [LimitMember.SHARED, LimitMember.EACH_KEY])
async def test_a_pot_that_the_budget_does_not_have_is_refused(kit: Kit, budgets: Budgets, member: LimitMember) -> None:
    """A member where all count together, none where each counts, another kind, another begin, another budget."""
    budget = await budgets.make(100, member=member, period=BudgetPeriod.DAY)
    node = await kit.node()
    right = budgets.key(budget, member="" if member is LimitMember.SHARED else "key-1")
    wrong = [
        state(node, budget, right._replace(member_uid="" if right.member_uid else "key-1"), needed_units=5),
        state(node, budget, right._replace(period_start_us=0), needed_units=5),
        state(node, budget, right._replace(period_start_us=right.period_start_us + 3_600 * US), needed_units=5),
        state(node, budget, right._replace(limit_uid="another"), needed_units=5),
        state(node, budget, right._replace(account_id="bolt"), needed_units=5),
        state(node, budget, right, PotKind.BUDGET_MONEY, needed_units=5),
    ]
    for one in wrong:
        (answer,) = await node.exchange(one)
        assert (answer.granted_units, answer.closed) == (0, True)
    assert await kit.read_leases() == []
    of_another_kind = replace(wrong[-1], statement=replace(wrong[-1].statement, lease_id="another"))
    answers = await node.exchange(of_another_kind, state(node, budget, right, needed_units=5), wrong[0])
    assert [answer.granted_units for answer in answers] == [0, 5, 0]
    (answer,) = await node.exchange(of_another_kind)
    assert answer.closed
    await budgets.assert_conserved(right)


async def test_the_next_period_begins_a_little_early_and_not_before(kit: Kit, budgets: Budgets) -> None:
    """A node whose clock is a few seconds ahead of control's is served; one that is far ahead is not."""
    budget, node = await budgets.make(100, period=BudgetPeriod.DAY), await kit.node()
    this = budgets.key(budget)
    await exchange(node, budget, this, needed_units=60)
    following = budgets.key(budget, ahead_us=86_400 * US)
    early_us = following.period_start_us - BEGINS_EARLY_US - kit.now_us
    kit.clock.advance(early_us // US - 1)
    assert (await exchange(node, budget, following, needed_units=70)).closed
    kit.clock.advance(2)
    assert (await exchange(node, budget, following, needed_units=70)).granted_units == 70
    await budgets.assert_conserved(this, following)


async def test_a_period_that_is_over_is_leased_from_for_a_day(kit: Kit, budgets: Budgets) -> None:
    """Requests that belong to it may run so long; what was consumed counts however late it is stated."""
    budget, node = await budgets.make(100, period=BudgetPeriod.DAY), await kit.node()
    key = budgets.key(budget)
    await exchange(node, budget, key, needed_units=10)
    end_us = (await budgets.pot(key)).end_us
    assert end_us is not None
    kit.clock.advance((end_us - kit.now_us + LEASABLE_AFTER_END_US) // US - 1)
    assert (await exchange(node, budget, key, held_units=10, needed_units=10)).granted_units == 20
    kit.clock.advance(2)
    answer = await exchange(node, budget, key, consumed_units=20, needed_units=10)
    assert (answer.granted_units, answer.availability, answer.closed) == (20, Availability.EMPTY, False)
    assert answer.available_units == 0
    other = await kit.node("node-b")
    answer = await exchange(other, budget, key, consumed_units=7, needed_units=10)
    assert (answer.granted_units, answer.closed) == (0, True)
    assert (await budgets.pot(key)).spent_units == 27
    await budgets.assert_conserved(key)


async def test_what_was_consumed_in_a_period_long_over_counts_without_a_pot(kit: Kit, budgets: Budgets) -> None:
    """Control may have been restored from a copy that was older than the pot; who consumed nothing makes none."""
    budget, node = await budgets.make(100, period=BudgetPeriod.DAY), await kit.node()
    key = budgets.key(budget)
    kit.clock.advance(10 * 86_400)
    assert (await exchange(node, budget, key, needed_units=5)).closed
    assert await kit.read_leases() == []
    answer = await exchange(node, budget, key, consumed_units=30, needed_units=5)
    assert (answer.granted_units, answer.closed) == (0, True)
    await budgets.assert_conserved(key)
    assert (await budgets.pot(key)).spent_units == 30


async def test_a_budget_has_no_pot_of_a_period_before_it_was_made(kit: Kit, budgets: Budgets) -> None:
    """Nothing was charged to it then."""
    budget, node = await budgets.make(100, period=BudgetPeriod.DAY), await kit.node()
    key = budgets.key(budget, ahead_us=-2 * 86_400 * US)
    assert (await exchange(node, budget, key, consumed_units=5)).closed
    assert await kit.read_leases() == []


async def test_the_amount_in_force_rules_at_once(kit: Kit, budgets: Budgets) -> None:
    """A lowered one grants nothing more, a raised one does, a raise ends by itself; the count goes on."""
    budget, node = await budgets.make(100, period=BudgetPeriod.MONTH), await kit.node()
    key = budgets.key(budget)
    await exchange(node, budget, key, needed_units=80)
    budget = await budgets.change(budget, amount_units=50)
    answer = await exchange(node, budget, key, consumed_units=70, held_units=10, needed_units=5)
    assert (answer.granted_units, answer.available_units) == (80, 0)
    assert (await budgets.pot(key)).available_units == -30
    await budgets.assert_conserved(key)
    budget = await budgets.change(budget, raised_units=90, raised_until_us=kit.now_us + 60 * US)
    answer = await exchange(node, budget, key, consumed_units=70, held_units=10, needed_units=5)
    assert (answer.granted_units, answer.available_units) == (85, 5)
    await budgets.assert_conserved(key)
    kit.clock.advance(60)
    answer = await exchange(node, budget, key, consumed_units=70, held_units=15, needed_units=5)
    assert (answer.granted_units, answer.availability) == (85, Availability.EMPTY)
    assert (await budgets.pot(key)).spent_units == 70


async def test_what_was_spent_before_counts_in_the_first_period_only(kit: Kit, budgets: Budgets) -> None:
    """Its maker says how much; the next period begins at nothing."""
    budget, node = await budgets.make(100, period=BudgetPeriod.DAY, initial=40), await kit.node()
    key = budgets.key(budget)
    assert (await exchange(node, budget, key, needed_units=100)).granted_units == 60
    await budgets.assert_conserved(key, initial=40)
    kit.clock.advance(86_400)
    following = budgets.key(budget)
    assert (await exchange(node, budget, following, needed_units=100)).granted_units == 100


async def test_what_was_spent_before_counts_for_no_single_member(kit: Kit, budgets: Budgets) -> None:
    """Nobody said whose it was."""
    budget, node = await budgets.make(100, member=LimitMember.EACH_KEY, initial=40), await kit.node()
    assert (await exchange(node, budget, budgets.key(budget, member="k"), needed_units=100)).granted_units == 100


async def test_a_soft_budget_is_leased_without_bound(kit: Kit, budgets: Budgets) -> None:
    """It counts, below zero if need be, and refuses nothing; nobody's wish takes all that can be counted."""
    budget, node = await budgets.make(100, soft=True), await kit.node()
    key = budgets.key(budget)
    assert (await exchange(node, budget, key, needed_units=500)).granted_units == 500
    answer = await exchange(node, budget, key, consumed_units=500, needed_units=500, wanted_units=2**63 - 1)
    assert answer.availability is Availability.AVAILABLE
    assert 1_000 <= answer.granted_units < USED_UNITS_MAX // 2
    pot = await budgets.pot(key)
    assert (pot.spent_units, pot.available_units) == (500, 100 - pot.leased_units - 500)
    await budgets.assert_conserved(key)


async def test_a_budget_that_is_gone_counts_and_grants_nothing(kit: Kit, budgets: Budgets) -> None:
    """What was consumed is spent of its pot, whichever lease states it; a new lease is closed at once."""
    budget, node, other = await budgets.make(100), await kit.node(), await kit.node("node-b")
    key = budgets.key(budget)
    await exchange(node, budget, key, needed_units=50)
    await budgets.change(budget, delete_us=kit.now_us)
    answer = await exchange(node, budget, key, consumed_units=40, held_units=10, needed_units=10)
    assert (answer.granted_units, answer.closed, answer.available_units) == (50, False, 0)
    answer = await exchange(other, budget, key, consumed_units=5, needed_units=10)
    assert (answer.granted_units, answer.closed) == (0, True)
    await budgets.assert_conserved(key)
    assert (await budgets.pot(key)).spent_units == 45
    answer = await exchange(node, budget, key, consumed_units=50, closing=True)
    assert answer.closed
    await budgets.assert_conserved(key)


async def test_a_budget_that_is_gone_and_never_leased_has_no_pot(kit: Kit, budgets: Budgets) -> None:
    """There is nothing to count on."""
    budget, node = await budgets.make(100), await kit.node()
    await budgets.change(budget, delete_us=kit.now_us)
    assert (await exchange(node, budget, budgets.key(budget), consumed_units=5)).closed
    assert await kit.read_leases() == []


async def test_a_stand_in_draws_from_the_lease_left_behind(kit: Kit, budgets: Budgets) -> None:
    """What was consumed in a lost epoch comes off its lease, once; no other pot of the limit pays for it."""
    budget, lost = await budgets.make(100, member=LimitMember.EACH_KEY), await kit.node()
    key, its = budgets.key(budget, member="key-2"), budgets.key(budget, member="key-1")
    await lost.exchange(state(lost, budget, key, needed_units=50), state(lost, budget, its, needed_units=50))
    node = await kit.node(epoch=2)
    stand_in = state(node, budget, key, consumed_units=30, closing=True)
    for _ in range(2):
        await node.exchange(stand_in)
        pot = await budgets.pot(key)
        assert (pot.available_units, pot.leased_units, pot.spent_units) == (50, 20, 30)
        await budgets.assert_conserved(key, its)
    await node.exchange(settled=2)
    assert [(await budgets.pot(one)).leased_units for one in (key, its)] == [0, 0]
    await budgets.assert_conserved(key, its)


async def test_an_unreadable_budget_concerns_its_own_leases_alone(kit: Kit, budgets: Budgets) -> None:
    """Services and other budgets are answered, once; the lease that has no answer is told of again."""
    service, node = await kit.service(trial_tokens=1_000), await kit.node()
    good, bad = await budgets.make(100, uid="good"), await budgets.make(100, uid="bad")
    await spoil(kit, "NONSENSE")
    stated = (
        state(node, bad, budgets.key(bad), consumed_units=5),
        node.state(service, TRIAL, needed_units=10),
        state(node, good, budgets.key(good), consumed_units=3, needed_units=7),
    )
    answers = await node.exchange(*stated)
    assert [answer.granted_units for answer in answers] == [10, 10]
    await spoil(kit, "IN_ALL")
    kit.clock.advance(SET_ASIDE_NS // 10**9)
    answers = await node.exchange(*stated)
    assert [answer.granted_units for answer in answers] == [0, 10, 10]
    await budgets.assert_conserved(budgets.key(good), budgets.key(bad))
    await kit.assert_conserved(service)


async def spoil(kit: Kit, period: str) -> None:
    """As a disk, a bug or a hand might leave it; or as it was."""
    async with kit.database._engine.begin() as connection:
        await connection.execute(text("UPDATE budgets SET period = :period WHERE uid = 'bad'"), {"period": period})


async def test_a_lease_id_of_another_pot_or_payer_is_refused(kit: Kit, budgets: Budgets) -> None:
    """A lease stays with the pot that it was made of."""
    service, node = await kit.service(trial_tokens=100), await kit.node()
    one, two = await budgets.make(100, uid="one"), await budgets.make(100, uid="two")
    key = budgets.key(one)
    await exchange(node, one, key, needed_units=50)
    known = lease_id(node, key)
    for stated in (state(node, two, budgets.key(two), consumed_units=5), node.state(service, TRIAL, consumed_units=5)):
        moved = replace(stated, statement=replace(stated.statement, lease_id=known))
        (answer,) = await node.exchange(moved)
        assert answer.closed
    await node.exchange(node.state(service, TRIAL, needed_units=5))
    taken = state(node, one, key, consumed_units=5)
    taken = replace(taken, statement=replace(taken.statement, lease_id=node.lease_id(service, TRIAL)))
    (answer,) = await node.exchange(taken)
    assert answer.closed
    await budgets.assert_conserved(key)
    await kit.assert_conserved(service)


async def test_thresholds_are_crossed_by_bookings_once(kit: Kit, budgets: Budgets) -> None:
    """The pot stands at the highest that is reached; a raised amount arms those beyond it again."""
    budget, node = await budgets.make(1_000, thresholds=(50, 80, 100)), await kit.node()
    key = budgets.key(budget)
    await exchange(node, budget, key, needed_units=1_000)
    told = []
    for consumed in (499, 500, 900, 900, 1_000):
        await exchange(node, budget, key, consumed_units=consumed)
        told.append((await budgets.pot(key)).told_percent)
    assert told == [0, 50, 80, 80, 100]
    await budgets.change(budget, amount_units=10_000)
    await exchange(node, budget, key, consumed_units=1_001)
    assert (await budgets.pot(key)).told_percent == 0


async def test_a_budget_stands_as_its_pots_do(kit: Kit, budgets: Budgets) -> None:
    """What was stated and what is booked together, of the present period; of members, who has spent most."""
    budget, node = await budgets.make(100, initial=40, period=BudgetPeriod.DAY), await kit.node()
    each = await budgets.make(50, uid="each", member=LimitMember.EACH_KEY)
    keys = [budgets.key(each, member=f"key-{number}") for number in range(3)]
    await node.exchange(
        state(node, budget, budgets.key(budget), consumed_units=30),
        *(state(node, each, key, consumed_units=units) for key, units in zip(keys, (50, 10, 60), strict=True)),
    )
    async with kit.database.reading() as tx:
        standing = await standing_of(tx, budget, kit.now_us)
        of_members = await standing_of(tx, each, kit.now_us)
        assert list(await tx.limit_pots.most_spent(keys[0], 2)) == ["key-2", "key-0"]
    assert (standing.spent_units, standing.stops_requests) == (70, False)
    assert (of_members.spent_units, of_members.stopped_members) == (60, ("key-0", "key-2"))
    kit.clock.advance(86_400)
    async with kit.database.reading() as tx:
        assert (await standing_of(tx, budget, kit.now_us)).spent_units == 0


async def test_fifteen_hundred_pots_are_one_exchange(kit: Kit, budgets: Budgets) -> None:
    """Each is made and answered in one transaction."""
    budget, node = await budgets.make(100, member=LimitMember.EACH_KEY), await kit.node()
    keys = [budgets.key(budget, member=f"key-{number}") for number in range(1_500)]
    for _ in range(2):
        answers = await node.exchange(*(state(node, budget, key, needed_units=70) for key in keys))
        assert [answer.granted_units for answer in answers] == [70] * len(keys)


async def test_a_shortage_ends_when_there_is_more(kit: Kit, budgets: Budgets) -> None:
    """Returned units, or a raised amount: nodes are told which pot to ask for again."""
    budget, node, other = await budgets.make(100), await kit.node(), await kit.node("node-b")
    watcher = kit.feed.open("node-b", 1)
    key = budgets.key(budget)
    await exchange(node, budget, key, needed_units=100, held_units=100)
    await exchange(node, budget, key, held_units=100)
    assert (await exchange(other, budget, key, needed_units=10)).availability is Availability.EMPTY
    await kit.feed.poll()
    update = await watcher.next(0)
    assert update is not None
    assert update.replenished_limit_pots == ()
    await budgets.change(budget, amount_units=200)
    await kit.feed.poll()
    update = await watcher.next(0)
    assert update is not None
    assert (update.replenished_limit_pots, update.replenished_service_uids) == ((key,), ())
    await kit.feed.poll()
    update = await watcher.next(0)
    assert update is not None
    assert update.replenished_limit_pots == ()
