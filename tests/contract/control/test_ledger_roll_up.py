"""Old usage lines become lines of hours, then of days; their sums, and all other lines, stay what they are."""

import random
from collections import Counter

import pytest

from control_service.domain.actor import SYSTEM
from control_service.domain.kept_days import KeptDays
from control_service.domain.ledger import LedgerEntry, LedgerEntryKind
from control_service.domain.ledger_span import DAY_US, HOUR_US, KEPT_FINER_US, LedgerSpan, spans
from control_service.domain.service import Service
from control_service.usecases.upkeep import ledger_roll_up
from control_service.usecases.upkeep.ledger_roll_up import PERIOD_NS, LedgerRollUp
from tests.harness.control.fleet_harness import Kit

MINUTE_US = 60_000_000
NOVEMBER_30_US = 1_701_302_400_000_000


def midnight_us(kit: Kit) -> int:
    return kit.now_us // DAY_US * DAY_US


async def fill(kit: Kit, services: list[Service], count: int, chance: random.Random) -> None:
    """So many usage lines of two days, and a payment between them."""
    start_us, numbers = midnight_us(kit), Counter[str]()
    minutes = sorted(chance.sample(range(2 * 24 * 60), count))
    async with kit.database.writing() as tx:
        for minute in minutes:
            service = chance.choice(services)
            numbers[service.account_id] += 1
            line = LedgerEntry(
                account_id=service.account_id,
                entry_number=numbers[service.account_id],
                kind=LedgerEntryKind.USAGE,
                amount_nanos=-chance.randrange(10**12),
                reason="",
                actor=SYSTEM.name,
                create_us=start_us + minute * MINUTE_US + 1,
                service_id=service.service_id,
                service_uid=service.uid,
                usage_minute_us=start_us + minute * MINUTE_US,
                team=chance.choice(("", "red")),
            )
            await tx.ledger.add(line)
        for account_id in numbers:
            paid = LedgerEntry(account_id, 10_000, LedgerEntryKind.TOP_UP, 7, "cash", "bob", start_us + 61 * MINUTE_US)
            await tx.ledger.add(paid)


async def lines(kit: Kit) -> list[LedgerEntry]:
    async with kit.database.reading() as tx:
        return [line for name in ("acme", "globex") for line in await tx.ledger.page(name, None, 0, 100_000)]


def first_day(found: list[LedgerEntry], start_us: int) -> list[LedgerEntry]:
    """Its usage lines."""
    return [line for line in found if (line.usage_minute_us or start_us + DAY_US) < start_us + DAY_US]


def sums(found: list[LedgerEntry], step_us: int) -> Counter[tuple[object, ...]]:
    """Amounts by service, team and step, and by account; also by when lines were opened."""
    by_step: Counter[tuple[object, ...]] = Counter()
    for line in found:
        by_step[line.account_id, line.service_uid, line.team, line.create_us // step_us] += line.amount_nanos
        if line.usage_minute_us is not None:
            by_step[line.account_id, line.service_uid, line.team, "used", line.usage_minute_us // step_us] += (
                line.amount_nanos
            )
    return by_step


async def two_services(kit: Kit) -> list[Service]:
    await kit.account("globex", funds=1_000_000)
    return [await kit.service(account_id=name, postpaid=True) for name in ("acme", "globex")]


async def run(kit: Kit, roll_up: LedgerRollUp) -> None:
    kit.clock.advance(us=PERIOD_NS // 1_000)
    while roll_up.is_due:
        await roll_up.tick()


async def test_lines_become_those_of_hours_and_days(kit: Kit) -> None:
    """Each in its time; to the nano."""
    await fill(kit, await two_services(kit), 600, random.Random(1))
    start_us, roll_up = midnight_us(kit), LedgerRollUp(kit.database, kit.clock)
    before = await lines(kit)
    for step_us, kept_us in KEPT_FINER_US.items():
        kit.clock.advance(us=start_us + DAY_US + kept_us - kit.now_us - PERIOD_NS // 1_000 - 1)
        unchanged = first_day(await lines(kit), start_us)
        await run(kit, roll_up)
        assert first_day(await lines(kit), start_us) == unchanged
        kit.clock.advance(us=1)
        await run(kit, roll_up)
        found = await lines(kit)
        old = first_day(found, start_us)
        assert all(line.usage_minute_us % step_us == 0 for line in old if line.usage_minute_us is not None)
        assert len(old) < len(unchanged)
        assert sums(found, step_us) == sums(before, step_us)
        assert [line for line in found if line.reason] == [line for line in before if line.reason]
    assert len(first_day(await lines(kit), start_us)) == 4


@pytest.mark.parametrize("seed", range(2))
async def test_the_sum_stays_wherever_it_is_interrupted(kit: Kit, monkeypatch: pytest.MonkeyPatch, seed: int) -> None:
    """Of processes that begin anew, at different times."""
    monkeypatch.setattr(ledger_roll_up, "BATCH_SIZE", 7)
    chance = random.Random(seed)
    await fill(kit, await two_services(kit), 120, chance)
    by_day = sums(await lines(kit), DAY_US)
    kit.clock.advance(us=KEPT_FINER_US[HOUR_US] + 2 * DAY_US)
    processes = [LedgerRollUp(kit.database, kit.clock)]
    for step in range(40):
        kit.clock.advance(us=PERIOD_NS // 1_000)
        if step == 10:
            kit.clock.advance(us=KEPT_FINER_US[DAY_US])
        if chance.random() < 0.2:
            processes.append(LedgerRollUp(kit.database, kit.clock))
        await chance.choice(processes).tick()
        assert sums(await lines(kit), DAY_US) == by_day
    await run(kit, LedgerRollUp(kit.database, kit.clock))
    assert len([line for line in await lines(kit) if line.usage_minute_us is not None]) == 8


async def test_the_turn_of_a_month_stays_exact_in_every_time_zone(kit: Kit) -> None:
    """Lines of its days stay those of quarters of an hour, since months of zones begin at them."""
    kit.clock.advance(us=NOVEMBER_30_US - kit.now_us)
    await fill(kit, await two_services(kit), 600, random.Random(5))
    before = await lines(kit)
    kit.clock.advance(us=KEPT_FINER_US[DAY_US] + 2 * DAY_US)
    await run(kit, LedgerRollUp(kit.database, kit.clock))
    found = await lines(kit)
    assert len(found) < len(before)
    assert sums(found, HOUR_US // 4) == sums(before, HOUR_US // 4)


def test_days_between_the_turns_of_months_are_one_span() -> None:
    """Of the step that is asked for; the last and the first days are of quarters of an hour."""
    quarter_us, december_us = HOUR_US // 4, NOVEMBER_30_US + 32 * DAY_US
    assert spans(DAY_US, NOVEMBER_30_US - DAY_US, december_us) == [
        LedgerSpan(DAY_US, NOVEMBER_30_US - DAY_US, NOVEMBER_30_US),
        LedgerSpan(quarter_us, NOVEMBER_30_US, NOVEMBER_30_US + 2 * DAY_US),
        LedgerSpan(DAY_US, NOVEMBER_30_US + 2 * DAY_US, december_us - DAY_US),
        LedgerSpan(quarter_us, december_us - DAY_US, december_us),
    ]
    assert spans(DAY_US, december_us, december_us) == []


async def test_a_wall_clock_that_jumps_makes_no_line_old(kit: Kit) -> None:
    """What was added up has no minutes any more."""
    await fill(kit, await two_services(kit), 50, random.Random(3))
    before, roll_up = await lines(kit), LedgerRollUp(kit.database, kit.clock)
    kit.clock.jump(us=2 * KEPT_FINER_US[DAY_US])
    await run(kit, roll_up)
    assert await lines(kit) == before


async def test_minutes_may_be_kept_for_less(kit: Kit) -> None:
    """As many days as are said."""
    await fill(kit, await two_services(kit), 600, random.Random(6))
    roll_up = LedgerRollUp(kit.database, kit.clock, KeptDays(minutes=1))
    start_us = midnight_us(kit)
    kit.clock.advance(us=start_us + 2 * DAY_US - kit.now_us)
    await run(kit, roll_up)
    minutes = [line.usage_minute_us for line in await lines(kit) if line.usage_minute_us is not None]
    assert all(minute_us % HOUR_US == 0 for minute_us in minutes if minute_us < start_us + DAY_US)
    assert any(minute_us % HOUR_US for minute_us in minutes)


async def test_the_sweeper_adds_up(kit: Kit) -> None:
    """A part with each of its turns, also while nothing else is due."""
    await fill(kit, await two_services(kit), 50, random.Random(4))
    count = len(await lines(kit))
    kit.clock.advance(us=KEPT_FINER_US[HOUR_US] + 3 * DAY_US)
    for _ in range(4):
        await kit.sweeper.turn()
    assert len(await lines(kit)) < count
