"""Statements: what a month did to an account's money, exact to the nano."""

import itertools
from dataclasses import replace
from datetime import UTC, datetime
from zoneinfo import ZoneInfo

import pytest
from sqlalchemy.ext.asyncio import AsyncEngine

from control_service.domain.account import Account
from control_service.domain.errors import InvalidRequestError
from control_service.domain.ledger import LedgerEntryKind
from control_service.domain.service import Service
from control_service.domain.statement import Statement, StatementGrouping, StatementQuery, StatementScope
from control_service.storage.database import SqlDatabase
from control_service.usecases.fleet_ports import Usage
from control_service.usecases.idempotent_call import Act
from control_service.usecases.people.services import ServiceUpdate, open_service, update_service
from control_service.usecases.people.statements import statement_of
from control_service.usecases.ports import Transaction
from tallygate._server.clock import ManualClock
from tests.harness.control.people_harness import DEFAULT, RESERVED_NANOS, Desk
from tests.harness.control.query_plans import recorded, whole_reads

US = 1_000_000
WHOLE = StatementScope(whole=True)
BERLIN = "Europe/Berlin"


@pytest.fixture
async def desk(database: SqlDatabase) -> Desk:
    """An account and a model in September 2026."""
    desk = Desk(database, ManualClock(moment_us("2026-09-30T12:00", "UTC")))
    await desk.create_account()
    await desk.create_model()
    return desk


def moment_us(text: str, zone: str = BERLIN) -> int:
    return int(datetime.fromisoformat(text).replace(tzinfo=ZoneInfo(zone)).timestamp()) * US


def at(desk: Desk, text: str, zone: str = BERLIN) -> None:
    """Puts the clock forward to a moment."""
    desk.clock.advance(us=moment_us(text, zone) - desk.now_us)


async def use(desk: Desk, nanos: int, service_id: str = "chat") -> None:
    """Settles money that a service spent, as exchanges do."""
    async with desk.database.writing() as tx:
        account = await tx.accounts.lock("acme")
        service = await tx.services.find("acme", service_id)
        assert service is not None
        spent = Usage("acme", service_id, service.uid, nanos, service.team)
        account = (await tx.batches.add_usage({"acme": account}, [spent], desk.now_us))["acme"]
        await tx.accounts.save(replace(account, spent_nanos=account.spent_nanos + nanos))


async def move(desk: Desk, service_id: str, team: str) -> None:
    """Moves a service to a team."""

    async def change(tx: Transaction, account: Account, act: Act) -> Service:
        service = await open_service(tx, account, service_id, act)
        return await update_service(tx, service, ServiceUpdate(None, team, None), act)

    await desk.of_account(change)


async def statement(
    desk: Desk,
    month: tuple[int, int] | None = (2026, 10),
    zone: str = BERLIN,
    grouping: StatementGrouping = StatementGrouping.SERVICE,
    scope: StatementScope = WHOLE,
) -> Statement:
    async with desk.database.reading() as tx:
        return await statement_of(tx, StatementQuery("acme", month, zone, grouping, scope), desk.now_us)


def amounts(found: Statement) -> dict[tuple[str, str, str, str], int]:
    """Amounts of services' lines."""
    return {
        (line.kind, line.service_id, line.model_id, line.team): line.amount_nanos for line in found.lines_of_services
    }


async def an_autumn(desk: Desk) -> None:
    """Money moves on both sides of both ends of October as Berlin has it."""
    await desk.publish_price()
    await desk.create_team("red")
    await desk.create_team("blue")
    await desk.create("chat", team="red")
    await desk.enable(DEFAULT)
    at(desk, "2026-09-30T23:59")
    await desk.pay(10_000)
    await use(desk, 7)
    at(desk, "2026-10-01T00:00")
    await desk.pay(500)
    await use(desk, 11)
    at(desk, "2026-10-25T02:30")
    await desk.pay(-30)
    await desk.pay(-3)
    await desk.buy()
    await use(desk, 13, DEFAULT)
    await move(desk, "chat", "blue")
    at(desk, "2026-10-31T23:59")
    await use(desk, 17)
    at(desk, "2026-11-01T00:00")
    await desk.pay(4)
    await use(desk, 19)
    at(desk, "2026-12-05T00:00")


async def test_opening_and_lines_are_closing(desk: Desk) -> None:
    """To the nano, with each line in the month that the zone's clocks say."""
    await an_autumn(desk)
    found = await statement(desk)
    assert (found.opening_nanos, found.closing_nanos) == (9_993, 9_993 + 500 - 33 - RESERVED_NANOS - 11 - 13 - 17)
    assert (found.top_up_nanos, found.credit_nanos, found.debit_nanos) == (500, 0, -33)
    assert found.total_nanos(LedgerEntryKind.RESERVATION) == -RESERVED_NANOS
    assert found.total_nanos(LedgerEntryKind.USAGE) == -41
    assert found.month == "2026-10"
    assert found.as_of_us == found.period.end_us == moment_us("2026-11-01T00:00")


async def test_months_follow_each_other(desk: Desk) -> None:
    """Each opens with what the one before closed with, and the last closes with the balance."""
    await an_autumn(desk)
    months = [await statement(desk, (2026, month)) for month in (9, 10, 11, 12)]
    assert months[0].opening_nanos == 0
    for before, after in itertools.pairwise(months):
        assert before.period.end_us == after.period.start_us
        assert before.closing_nanos == after.opening_nanos
    assert months[-1].closing_nanos == (await desk.account()).balance_nanos
    assert (await statement(desk, None)).month == "2026-12"


async def test_another_zone_has_other_months(desk: Desk) -> None:
    """What Berlin has in the first minute of a month, UTC has in the one before."""
    await an_autumn(desk)
    assert (await statement(desk, zone="UTC")).top_up_nanos == 4
    assert (await statement(desk, (2026, 9), zone="UTC")).top_up_nanos == 10_500


async def test_lines_are_of_services_models_or_teams(desk: Desk) -> None:
    """A service that moved has a line for each team that it was in; all ways of adding up have the same sum."""
    await an_autumn(desk)
    by_service = await statement(desk)
    assert amounts(by_service) == {
        ("RESERVATION", "chat", "llama", "red"): -RESERVED_NANOS,
        ("USAGE", "chat", "llama", "red"): -11,
        ("USAGE", "chat", "llama", "blue"): -17,
        ("USAGE", DEFAULT, "llama", ""): -13,
    }
    assert amounts(await statement(desk, grouping=StatementGrouping.MODEL)) == {
        ("RESERVATION", "", "llama", ""): -RESERVED_NANOS,
        ("USAGE", "", "llama", ""): -41,
    }
    assert amounts(await statement(desk, grouping=StatementGrouping.TEAM)) == {
        ("RESERVATION", "", "", "red"): -RESERVED_NANOS,
        ("USAGE", "", "", "red"): -11,
        ("USAGE", "", "", "blue"): -17,
        ("USAGE", "", "", ""): -13,
    }


async def test_a_team_sees_its_part(desk: Desk) -> None:
    """Neither balances nor payments, and no line of another team; also not where there is no team at all."""
    await an_autumn(desk)
    found = await statement(desk, scope=StatementScope(whole=False, team_ids=frozenset({"blue"})))
    assert amounts(found) == {("USAGE", "chat", "llama", "blue"): -17}
    assert (found.opening_nanos, found.closing_nanos, found.top_up_nanos, found.debit_nanos) == (None, None, 0, 0)
    assert (await statement(desk, scope=StatementScope(whole=False, team_ids=frozenset()))).lines == ()


async def test_a_month_that_runs_is_as_of_now(desk: Desk) -> None:
    """A payment is in the statement of its month at once."""
    at(desk, "2026-10-10T10:00")
    await desk.pay(5)
    found = await statement(desk)
    assert (found.closing_nanos, found.as_of_us) == (5, desk.now_us)


@pytest.mark.parametrize(
    ("month", "zone", "field"),
    [((2026, 11), "UTC", "month"), ((9999, 12), "UTC", "month"), ((2026, 9), "Mars", "time_zone")],
)
async def test_what_there_is_no_statement_of(desk: Desk, month: tuple[int, int], zone: str, field: str) -> None:
    """A month to come, the last that there is, and a zone that nobody knows."""
    with pytest.raises(InvalidRequestError) as refused:
        await statement(desk, month, zone)
    assert [path for path, _ in refused.value.violations] == [field]


async def test_a_statement_reads_its_months_alone(desk: Desk, engine: AsyncEngine, planner: AsyncEngine) -> None:
    """Lines are found by an index, however old the account is."""
    await an_autumn(desk)
    with recorded(engine) as statements:
        await statement(desk)
    assert await whole_reads(planner, statements) == []


def test_moments_are_in_utc() -> None:
    """The helper of these tests does what it says."""
    assert moment_us("2026-11-01T00:00", "UTC") == int(datetime(2026, 11, 1, tzinfo=UTC).timestamp()) * US
