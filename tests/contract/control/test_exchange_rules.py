"""Exchanges about rate rules: accrued units and slots, shared by all services of an account on all nodes."""

from dataclasses import replace

import pytest

from control_service.domain.limit import LimitPotKey, RateMetric
from control_service.domain.recall import Availability
from tests.harness.control.fleet_harness import Kit
from tests.harness.control.rules import MODEL, Rules, exchange, state

SECOND_US = 1_000_000
SLOTS = RateMetric.CONCURRENT_REQUESTS


@pytest.fixture
def rules(kit: Kit) -> Rules:
    """The rules of the kit's database."""
    return Rules(kit)


async def test_a_rule_grants_what_has_accrued(kit: Kit, rules: Rules) -> None:
    """A full burst at first; then no more than accrues, and the answer says when."""
    rule, node = await rules.make(6_000, burst=1_000), await kit.node()
    answer = await exchange(node, rule, needed_units=1_000)
    assert (answer.granted_units, answer.availability) == (1_000, Availability.AVAILABLE)
    await rules.assert_conserved(rule)
    answer = await exchange(node, rule, consumed_units=1_000, needed_units=500)
    assert (answer.granted_units, answer.availability) == (1_000, Availability.EMPTY)
    assert (answer.available_units, answer.accrues_after_us) == (0, 5 * SECOND_US)
    kit.clock.advance(us=5 * SECOND_US)
    answer = await exchange(node, rule, consumed_units=1_000, needed_units=500)
    assert (answer.granted_units, answer.availability) == (1_500, Availability.AVAILABLE)
    await rules.assert_conserved(rule)


async def test_little_is_leased_ahead_of_need(kit: Kit, rules: Rules) -> None:
    """Two seconds' worth at most, however much a node would like to have."""
    rule, node = await rules.make(6_000), await kit.node()
    assert (await exchange(node, rule, wanted_units=5_000)).granted_units == 200


async def test_what_was_not_used_comes_back_up_to_the_brim(kit: Kit, rules: Rules) -> None:
    """Onto the lease first, and from there to the pot: never more than the burst, leases included."""
    rule, node = await rules.make(6_000, burst=1_000), await kit.node()
    await exchange(node, rule, needed_units=1_000)
    await exchange(node, rule, consumed_units=1_000)
    kit.clock.advance(us=5 * SECOND_US)
    await exchange(node, rule, consumed_units=1_000, refunded_units=300)
    pot = await rules.rate(rule)
    assert (pot.available_units, pot.leased_units, pot.spent_units) == (500, 300, 700)
    await rules.assert_conserved(rule)
    await exchange(node, rule, consumed_units=1_000, refunded_units=800, returned_units=300)
    pot = await rules.rate(rule)
    assert (pot.available_units, pot.leased_units) == (500, 500)
    await rules.assert_conserved(rule)


async def test_what_runs_makes_a_debt_of_one_burst_at_most(kit: Kit, rules: Rules) -> None:
    """It lowers the level, which the answer says; a dry run makes none."""
    rule = await rules.make(6_000, burst=1_000)
    dry, node = await rules.make(6_000, burst=1_000, uid="dry", dry_run=True), await kit.node()
    for one, available in ((rule, -1_000), (dry, 0)):
        answer = await exchange(node, one, consumed_units=5_000)
        assert (answer.granted_units, answer.available_units) == (0, available)
    assert (await rules.rate(rule)).available_units == -1_000
    await rules.change(dry, dry_run=False)
    assert (await exchange(node, dry, consumed_units=5_001)).available_units == -1


async def test_units_of_a_lost_node_are_gone(kit: Kit, rules: Rules) -> None:
    """Nobody knows what it used of them; they accrue again as any others."""
    rule, node = await rules.make(6_000, burst=1_000), await kit.node()
    await exchange(node, rule, needed_units=400)
    again = await kit.node(epoch=2)
    await again.exchange(settled=2)
    pot = await rules.rate(rule)
    assert (pot.available_units, pot.leased_units) == (600, 0)
    assert all(lease.closed for lease in await kit.read_leases())
    kit.clock.advance(us=2 * SECOND_US)
    assert (await exchange(again, rule, needed_units=1_000)).granted_units == 800


async def test_a_node_that_leaves_gives_its_units_back(kit: Kit, rules: Rules) -> None:
    """What it says it returned is there again."""
    rule, node = await rules.make(6_000, burst=1_000), await kit.node()
    await exchange(node, rule, needed_units=400)
    assert (await exchange(node, rule, consumed_units=100, returned_units=300, closing=True)).closed
    assert (await rules.rate(rule)).available_units == 900


async def test_a_new_lease_pays_for_no_earlier_one(kit: Kit, rules: Rules) -> None:
    """What a lost epoch had is forfeited, though the next one spends before it is granted anything."""
    rule, node = await rules.make(6_000, burst=1_000), await kit.node()
    await exchange(node, rule, needed_units=400)
    again = await kit.node(epoch=2)
    answer = await exchange(again, rule, consumed_units=50)
    assert (answer.granted_units, answer.available_units) == (0, 550)
    assert (await rules.rate(rule)).leased_units == 400


async def test_two_nodes_share_what_accrues(kit: Kit, rules: Rules) -> None:
    """What is free on one is recalled for the other, and what is given back is there for it."""
    rule, first, second = await rules.make(6_000, burst=1_000), await kit.node("node-a"), await kit.node("node-b")
    await exchange(first, rule, needed_units=1_000)
    answer = await exchange(second, rule, needed_units=10)
    assert (answer.availability, answer.leased_elsewhere_units) == (Availability.RECALLING, 1_000)
    await exchange(first, rule, consumed_units=600, returned_units=400)
    answer = await exchange(second, rule, needed_units=10)
    assert (answer.granted_units, answer.availability) == (10, Availability.AVAILABLE)
    await rules.assert_conserved(rule)


async def test_refunds_on_a_lease_are_recalled(kit: Kit, rules: Rules) -> None:
    """They are free units like those that were granted."""
    rule, first, second = await rules.make(6_000, burst=100), await kit.node("node-a"), await kit.node("node-b")
    await exchange(first, rule, needed_units=100)
    await exchange(first, rule, consumed_units=100, refunded_units=40)
    answer = await exchange(second, rule, needed_units=50)
    assert answer.availability is Availability.RECALLING


async def test_a_changed_rule_restarts_nothing(kit: Kit, rules: Rules) -> None:
    """What had accrued stays, up to the new burst, and accrues at the new rate from then on."""
    rule, node = await rules.make(6_000, burst=1_000), await kit.node()
    await exchange(node, rule, needed_units=900)
    rule = await rules.change(rule, limit_units=12_000, burst_units=2_000)
    answer = await exchange(node, rule, consumed_units=900)
    assert answer.available_units == 100
    kit.clock.advance(us=SECOND_US)
    assert (await exchange(node, rule, consumed_units=900)).available_units == 300


async def test_a_rule_that_is_gone_grants_nothing(kit: Kit, rules: Rules) -> None:
    """What was used under it counts; new leases are refused, and the pot goes in the end."""
    rule, node, other = await rules.make(6_000), await kit.node("node-a"), await kit.node("node-b")
    await exchange(node, rule, needed_units=100)
    await rules.change(rule, delete_us=kit.now_us)
    answer = await exchange(node, rule, consumed_units=40, needed_units=100)
    assert (answer.granted_units, answer.closed) == (100, False)
    assert (await rules.rate(rule)).spent_units == 40
    answer = await exchange(other, rule, needed_units=1)
    assert (answer.granted_units, answer.closed) == (0, True)
    async with kit.database.writing() as tx:
        assert await tx.rule_pots.delete_ended(kit.now_us + 1, 10) == 0
    await exchange(node, rule, consumed_units=40, closing=True)
    async with kit.database.writing() as tx:
        assert await tx.rule_pots.delete_ended(kit.now_us + 1, 10) == 1


async def test_each_account_has_its_own_pot_of_a_models_rule(kit: Kit, rules: Rules) -> None:
    """What one uses up leaves the other what it has."""
    await kit.account("bolt")
    rule, node = await rules.make(600, burst=100, place=MODEL), await kit.node()
    assert (await exchange(node, rule, needed_units=100)).granted_units == 100
    assert (await exchange(node, rule, account_id="bolt", needed_units=100)).granted_units == 100
    await rules.assert_conserved(rule)
    await rules.assert_conserved(rule, "bolt")


async def test_a_pot_that_a_rule_does_not_have_is_refused(kit: Kit, rules: Rules) -> None:
    """A member, a period, another kind, another account."""
    rule, slots, node = await rules.make(600), await rules.make(5, uid="slots", metric=SLOTS), await kit.node()
    await kit.account("bolt")
    right = state(node, rule, needed_units=1)
    for limit in (
        LimitPotKey("acme", rule.uid, "key-1"),
        LimitPotKey("acme", rule.uid, "", 3_600 * SECOND_US),
        LimitPotKey("acme", slots.uid),
        LimitPotKey("bolt", rule.uid),
    ):
        (answer,) = await node.exchange(replace(right, limit=limit))
        assert (answer.granted_units, answer.closed) == (0, True)
    assert await kit.read_leases() == []


async def test_slots_are_held_and_never_spent(kit: Kit, rules: Rules) -> None:
    """A slot is a request's as long as it runs; a lowered limit gives nothing until enough have ended."""
    rule, node, other = await rules.make(5, metric=SLOTS), await kit.node("node-a"), await kit.node("node-b")
    assert (await exchange(node, rule, needed_units=20)).granted_units == 5
    answer = await exchange(other, rule, needed_units=1)
    assert answer.availability is Availability.RECALLING
    await exchange(node, rule, held_units=5)
    answer = await exchange(other, rule, needed_units=1)
    assert (answer.granted_units, answer.availability) == (0, Availability.EMPTY)
    rule = await rules.change(rule, limit_units=3)
    await exchange(node, rule, held_units=3, returned_units=2)
    assert (await exchange(other, rule, needed_units=1)).granted_units == 0
    await exchange(node, rule, held_units=2, returned_units=3)
    assert (await exchange(other, rule, needed_units=1)).granted_units == 1
    await rules.assert_conserved(rule)
    assert (await rules.slots(rule)).spent_units == 0


async def test_a_lost_nodes_slots_come_back_when_its_lease_is_closed(kit: Kit, rules: Rules) -> None:
    """Until then its requests may still run."""
    rule, node, other = await rules.make(5, metric=SLOTS), await kit.node("node-a"), await kit.node("node-b")
    await exchange(node, rule, needed_units=5)
    await exchange(node, rule, held_units=5)
    again = await kit.node("node-a", epoch=2)
    assert (await exchange(other, rule, needed_units=1)).granted_units == 0
    await again.exchange(settled=2)
    assert (await exchange(other, rule, needed_units=1)).granted_units == 1
    await rules.assert_conserved(rule)
