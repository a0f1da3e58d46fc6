"""What is old and settled is deleted; what may be requested again is not, whatever the wall clock does."""

from dataclasses import replace

from control_service.domain.kept_days import USUAL
from control_service.domain.limit import BudgetPeriod, LimitPotKey
from control_service.domain.pot import PotKind
from control_service.usecases.ports import ResponseKey, StoredResponse
from control_service.usecases.upkeep.retention import (
    BATCH_SIZE,
    CLOSED_LEASES_KEPT_US,
    ENDED_POTS_KEPT_US,
    PERIOD_NS,
    RESPONSES_KEPT_US,
    TOKENS_KEPT_US,
)
from tests.harness.control.access import made_token, store
from tests.harness.control.fleet_harness import FleetNode, Kit
from tests.harness.control.limits import Budgets, exchange

MONEY = PotKind.MONEY
PERIOD_US = PERIOD_NS // 1_000
DAY_US = 86_400_000_000


async def closed_lease(kit: Kit, node: FleetNode) -> None:
    """A lease that was used and closed."""
    service = await kit.service(postpaid=True)
    await node.exchange_one(service, MONEY, needed_units=100)
    await node.exchange_one(service, MONEY, consumed_units=60, closing=True)


def key_of(number: int) -> ResponseKey:
    return ResponseKey("acme", "", "Method", f"key-{number}")


async def keep_responses(kit: Kit, count: int) -> None:
    async with kit.database.writing() as tx:
        for number in range(count):
            await tx.responses.keep(key_of(number), StoredResponse(b"hash", b"response"), kit.now_us)


async def has_response(kit: Kit, number: int = 0) -> bool:
    async with kit.database.reading() as tx:
        return await tx.responses.find(key_of(number)) is not None


async def test_a_closed_lease_goes_when_its_epoch_is_settled_and_it_is_old(kit: Kit) -> None:
    """Neither alone is enough; one of a running epoch stays, and so does the money that was spent."""
    node = await kit.node(epoch=1)
    await closed_lease(kit, node)
    kit.clock.advance(us=CLOSED_LEASES_KEPT_US + 1)
    await kit.sweeper.tick()
    assert len(await kit.read_leases()) == 1
    new = await kit.node(epoch=2)
    await new.exchange(settled=2)
    kit.clock.advance(us=PERIOD_US)
    await kit.sweeper.tick()
    assert await kit.read_leases() == []
    assert (await kit.read_account()).spent_nanos == 60


async def test_a_closed_lease_of_a_settled_epoch_stays_for_its_time(kit: Kit) -> None:
    """To the last microsecond of it."""
    node = await kit.node(epoch=1)
    await closed_lease(kit, node)
    closed_us = kit.now_us
    new = await kit.node(epoch=2)
    await new.exchange(settled=2)
    kit.clock.advance(us=closed_us + CLOSED_LEASES_KEPT_US - kit.now_us)
    await kit.sweeper.tick()
    assert len(await kit.read_leases()) == 1
    kit.clock.advance(us=PERIOD_US)
    await kit.sweeper.tick()
    assert await kit.read_leases() == []


async def test_open_leases_never_go(kit: Kit) -> None:
    """However old they are, and whether or not their epoch is settled."""
    service, node = await kit.service(postpaid=True), await kit.node(epoch=1)
    await node.exchange_one(service, MONEY, needed_units=100)
    await node.exchange(settled=1)
    kit.clock.advance(us=10 * CLOSED_LEASES_KEPT_US)
    await kit.sweeper.tick()
    assert len(await kit.read_leases()) == 1


async def test_answers_go_when_they_are_old(kit: Kit) -> None:
    """A key is good for a week; after that its answer is gone."""
    await keep_responses(kit, 1)
    kit.clock.advance(us=RESPONSES_KEPT_US)
    await kit.sweeper.tick()
    assert await has_response(kit)
    kit.clock.advance(us=PERIOD_US)
    await kit.sweeper.tick()
    assert not await has_response(kit)


async def test_a_jump_of_the_wall_clock_makes_nothing_old(kit: Kit) -> None:
    """A month ahead and back again: what is a day old stays."""
    await keep_responses(kit, 1)
    kit.clock.advance(us=DAY_US)
    kit.clock.jump(us=30 * DAY_US)
    await kit.sweeper.tick()
    kit.clock.jump(us=-30 * DAY_US)
    assert await has_response(kit)


async def test_much_goes_in_parts(kit: Kit) -> None:
    """Each tick deletes one batch, until there is no more."""
    await keep_responses(kit, BATCH_SIZE + 1)
    kit.clock.advance(us=RESPONSES_KEPT_US + 1)
    await kit.sweeper.tick()
    left = [number for number in range(BATCH_SIZE + 1) if await has_response(kit, number)]
    assert len(left) == 1
    await kit.sweeper.tick()
    assert not await has_response(kit, left[0])


async def test_events_go_with_the_audit_log(kit: Kit) -> None:
    """After as many days; the status that they led to stays."""
    service = await kit.service(postpaid=True)
    status = (await kit.read_service(service)).told_status
    happened_us = max(event.origin.at_us for event in await kit.events(service))
    kit.clock.advance(us=happened_us + USUAL.audit * DAY_US - kit.now_us)
    await kit.sweeper.tick()
    assert happened_us in {event.origin.at_us for event in await kit.events(service)}
    kit.clock.advance(us=PERIOD_US)
    await kit.sweeper.tick()
    assert await kit.events(service) == []
    assert (await kit.read_service(service)).told_status == status


async def test_ended_tokens_go_when_they_are_old(kit: Kit) -> None:
    """Deleted ones and sign-ins that expired; any other token stays, and an ended one for its time."""
    living = made_token(number=1).token
    deleted = replace(made_token(number=2).token, delete_us=kit.now_us)
    sign_in = replace(made_token(number=3).token, expire_us=kit.now_us, signed_in=True)
    expired = replace(made_token(number=4).token, expire_us=kit.now_us)
    tokens = (living, deleted, sign_in, expired)
    async with kit.database.writing() as tx:
        await store(tx, *tokens)

    async def kept() -> list[int]:
        async with kit.database.reading() as tx:
            found = [await tx.access_tokens.find(token.token_id) for token in tokens]
        return [number for number, token in enumerate(found, 1) if token is not None]

    kit.clock.advance(us=TOKENS_KEPT_US)
    await kit.sweeper.tick()
    assert await kept() == [1, 2, 3, 4]
    kit.clock.advance(us=PERIOD_US)
    await kit.sweeper.tick()
    assert await kept() == [1, 4]


async def has_pot(kit: Kit, key: LimitPotKey) -> bool:
    kit.clock.advance(us=PERIOD_US)
    await kit.sweeper.tick()
    async with kit.database.reading() as tx:
        return bool(await tx.limit_pots.find([key]))


async def test_an_ended_pot_goes_a_week_after_its_last_lease(kit: Kit) -> None:
    """Not before its period is over for so long, never while a lease is open, and other pots stay."""
    budgets, node = Budgets(kit.database, kit.clock), await kit.node()
    budget = await budgets.make(100, period=BudgetPeriod.DAY)
    key, started_us = budgets.key(budget), kit.now_us
    await exchange(node, budget, key, needed_units=10)
    kit.clock.advance(us=ENDED_POTS_KEPT_US + 2 * DAY_US)
    assert await has_pot(kit, key)
    await exchange(node, budget, key, consumed_units=10, closing=True)
    following = budgets.key(budget)
    await exchange(node, budget, following, needed_units=10, closing=True)
    closed_us = kit.now_us
    kit.clock.advance(us=closed_us + ENDED_POTS_KEPT_US - PERIOD_US - kit.now_us)
    assert await has_pot(kit, key)
    assert not await has_pot(kit, key)
    assert await has_pot(kit, following)
    assert (await exchange(node, budget, key, consumed_units=10, closing=True)).closed
    assert not await has_pot(kit, key)
    assert kit.now_us - started_us > ENDED_POTS_KEPT_US


async def test_the_pot_of_a_deleted_budget_goes_as_well(kit: Kit) -> None:
    """Though it is for ever; the pot of a budget that is there stays."""
    budgets, node = Budgets(kit.database, kit.clock), await kit.node()
    budget, other = await budgets.make(100, uid="one"), await budgets.make(100, uid="two")
    key, its = budgets.key(budget), budgets.key(other)
    await exchange(node, budget, key, needed_units=10, closing=True)
    await exchange(node, other, its, needed_units=10, closing=True)
    kit.clock.advance(us=2 * ENDED_POTS_KEPT_US)
    assert await has_pot(kit, key)
    await budgets.change(budget, delete_us=kit.now_us)
    kit.clock.advance(us=ENDED_POTS_KEPT_US - PERIOD_US)
    assert await has_pot(kit, key)
    assert not await has_pot(kit, key)
    assert await has_pot(kit, its)
