"""Slots that silent nodes have on lease: others are told when these come back, as far as anybody knows."""

import pytest

from control_service.domain.limit import LimitPotKey, RateMetric, RateRule
from control_service.domain.pot import PotKind
from tests.harness.control.fleet_harness import METERING_DATABASE, FleetNode, Kit
from tests.harness.control.rules import Rules, exchange

SECOND_US = 1_000_000
SLOTS = RateMetric.CONCURRENT_REQUESTS


@pytest.fixture
def rules(kit: Kit) -> Rules:
    """The rules of the kit's database."""
    return Rules(kit)


async def watch(kit: Kit, *nodes: FleetNode, seconds: int) -> None:
    """These seconds pass, in which these nodes exchange and the replica looks."""
    for _ in range(seconds):
        for node in nodes:
            await node.exchange()
        await pass_time(kit, seconds=1)


async def pass_time(kit: Kit, *, seconds: int) -> None:
    """They pass before the replica looks again."""
    kit.clock.advance(seconds)
    async with kit.database.reading() as tx:
        kit.memory.liveness.observe(await tx.nodes.every())


async def has_slots(node: FleetNode, rule: RateRule, units: int) -> None:
    """The node has so many, and its requests hold them."""
    answer = await exchange(node, rule, needed_units=units)
    assert answer.granted_units == units
    await exchange(node, rule, held_units=units)


async def told_us(node: FleetNode, rule: RateRule) -> int | None:
    """What a node is told for whom none is left."""
    answer = await exchange(node, rule, needed_units=1)
    assert answer.granted_units == 0
    return answer.accrues_after_us


async def test_a_node_is_told_when_slots_of_a_silent_one_come_back(kit: Kit, rules: Rules) -> None:
    """A resume window after that was heard last; then at any moment. A live one's are free when a request ends."""
    rule, silent, other = await rules.make(5, metric=SLOTS), await kit.node("node-a"), await kit.node("node-b")
    await watch(kit, silent, other, seconds=1)
    await has_slots(silent, rule, 5)
    await watch(kit, silent, other, seconds=2)
    assert await told_us(other, rule) is None
    await watch(kit, other, seconds=2)
    assert await told_us(other, rule) is None
    await watch(kit, other, seconds=1)
    assert await told_us(other, rule) == (30 - 4) * SECOND_US
    await pass_time(kit, seconds=10)
    assert await told_us(other, rule) == (30 - 14) * SECOND_US
    await pass_time(kit, seconds=20)
    assert await told_us(other, rule) == SECOND_US
    await exchange(silent, rule, held_units=5)
    assert await told_us(other, rule) is None


async def test_a_node_that_was_away_has_slots_of_its_own(kit: Kit, rules: Rules) -> None:
    """It is heard with the very exchange that asks: its own may be free at any moment."""
    rule, node, other = await rules.make(5, metric=SLOTS), await kit.node("node-a"), await kit.node("node-b")
    await watch(kit, node, other, seconds=1)
    await has_slots(node, rule, 5)
    await watch(kit, node, other, seconds=1)
    await watch(kit, other, seconds=4)
    assert await told_us(other, rule) is not None
    answer = await exchange(node, rule, held_units=5, needed_units=1)
    assert answer.accrues_after_us is None


async def test_the_next_epoch_says_how_long_earlier_leases_stay(kit: Kit, rules: Rules) -> None:
    """It counts from the first hello, whichever replica heard that, and until the lease is closed."""
    rule, lost, other = await rules.make(5, metric=SLOTS), await kit.node("node-a"), await kit.node("node-b")
    replica = Kit(kit.database, kit.clock)
    await watch(kit, lost, other, seconds=1)
    await pass_time(replica, seconds=0)
    await has_slots(lost, rule, 5)
    await watch(kit, lost, other, seconds=1)
    for seconds, kept_us in ((0, 29_000_000), (5, 24_000_000)):
        await pass_time(kit, seconds=seconds)
        await replica.registration.register("node-a", 2, METERING_DATABASE, leases_kept_us=kept_us)
    await pass_time(replica, seconds=0)
    again = FleetNode(kit, "node-a", 2)
    await watch(kit, again, other, seconds=1)
    assert await told_us(other, rule) == (29 - 6) * SECOND_US
    await pass_time(kit, seconds=22)
    assert await told_us(other, rule) == SECOND_US
    other.kit = replica
    assert await told_us(other, rule) == SECOND_US
    await pass_time(kit, seconds=10)
    assert await told_us(other, rule) == SECOND_US
    await again.exchange(settled=2)
    assert (await exchange(other, rule, needed_units=1)).granted_units == 1


async def test_what_it_takes_is_said(kit: Kit, rules: Rules) -> None:
    """Below a lowered limit one request that ends on a live node is not enough."""
    rule, silent, other = await rules.make(5, metric=SLOTS), await kit.node("node-a"), await kit.node("node-b")
    await watch(kit, silent, other, seconds=1)
    await has_slots(silent, rule, 4)
    await has_slots(other, rule, 1)
    await watch(kit, silent, other, seconds=1)
    await watch(kit, other, seconds=5)
    third = await kit.node("node-c")
    assert await told_us(third, rule) is None
    rule = await rules.change(rule, limit_units=4)
    assert await told_us(third, rule) == 24 * SECOND_US


async def test_open_leases_of_a_pot_are_found(kit: Kit, rules: Rules) -> None:
    """Whether requests hold them or not; closed ones and other pots' are not."""
    rule, another = await rules.make(5, metric=SLOTS), await rules.make(5, metric=SLOTS, uid="another")
    nodes = [await kit.node(f"node-{name}") for name in "abc"]
    for node in nodes:
        await has_slots(node, rule, 1)
        await has_slots(node, another, 1)
    await exchange(nodes[2], rule, closing=True)
    async with kit.database.reading() as tx:
        found = await tx.leases.open_of_limits([LimitPotKey("acme", rule.uid)])
        both = await tx.leases.open_of_limits([LimitPotKey("acme", one.uid) for one in (rule, another)])
        known = await tx.nodes.find(["node-a", "node-b", "nobody"])
    assert sorted(lease.node for lease in found) == ["node-a", "node-b"]
    assert {(lease.kind, lease.held_units) for lease in found} == {(PotKind.SLOTS, 1)}
    assert len(both) == 5
    assert {name: node.epoch for name, node in known.items()} == {"node-a": 1, "node-b": 1}
