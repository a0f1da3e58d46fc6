"""One account's books in the control database, as of one moment."""

from collections import defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Final

from sqlalchemy import case, func, select
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from books_audit.findings import Finding, Rule
from control_service.domain.account import Account
from control_service.domain.bucket import MICRO_PER_TOKEN
from control_service.domain.ledger import LedgerEntryKind
from control_service.domain.pot import PotKind
from control_service.domain.service import Service
from control_service.domain.status import ServiceStatus
from control_service.storage.limit_schema import rule_pots
from control_service.storage.schema import leases, ledger_entries, rate_buckets
from control_service.storage.transaction import SqlTransaction
from control_service.usecases.people.operations import PotView, list_pots
from control_service.usecases.ports import ServiceFilter
from control_service.usecases.service_status import view
from tallygate._server.database.engine import read_only

PAGE: Final = 500
"""Number of rows that one query reads."""

BEFORE_ALL: Final = ("", -1, "", "", 0)
"""Position before the first pot of an account."""

Pot = tuple[str, str, str, str, int]
"""Which pot of an account: service's id, kind, and of a limit's its uid, the member's and the period's begin."""

_COMPARED: Final = (PotKind.MONEY.value, PotKind.TRIAL.value)
"""Kinds of leases whose consumption is compared with the metering database's, service by service."""
_OUTSTANDING: Final = (
    leases.c.granted_units + leases.c.refunded_units - leases.c.consumed_units - leases.c.returned_units
)


@dataclass(frozen=True, slots=True)
class AccountBooks:
    """What control has of an account: its pots, what is on lease, what was consumed on which lease, its statuses.

    `spent_nanos`: what the ledger has of usage, by service uid. `leased`: what open leases have. `consumed`: of leases
    on money and trials, each with its service's uid and its kind. `overfull`: rates that have more than their burst:
    which, what is available and what is leased, in units, and the burst.
    """

    account: Account
    pots: list[PotView]
    services: list[tuple[Service, ServiceStatus]]
    funds_nanos: int
    spent_nanos: Mapping[str, int]
    leased: Mapping[Pot, int]
    consumed: Mapping[str, tuple[str, str, int]] = field(repr=False)
    overfull: list[tuple[str, int, int, int]]


async def read_books(engine: AsyncEngine, account_id: str, now_us: int) -> AccountBooks:
    """All of it in one transaction that keeps nobody waiting. Raises ResourceNotFoundError."""
    async with read_only(engine) as connection:
        tx = SqlTransaction(connection)
        funds, spent = await _ledger(connection, account_id)
        return AccountBooks(
            account=await tx.accounts.get(account_id),
            pots=await _pots(tx, account_id, now_us),
            services=await _services(tx, account_id, now_us),
            funds_nanos=funds,
            spent_nanos=spent,
            leased=await _leased(connection, account_id),
            consumed=await _consumed(connection, account_id),
            overfull=await _overfull(connection, account_id),
        )


def judge(books: AccountBooks, now_us: int) -> Iterator[Finding]:
    """What does not add up within the control database."""
    name = f"accounts/{books.account.account_id}"
    yield from _judge_ledger(name, books)
    yield from _judge_pots(name, books)
    for whose, level, leased, most in books.overfull:
        problem = f"{level:,} are available beside {leased:,} on lease, of at most {most:,}."
        yield Finding(Rule.RATE, f"{name} {whose}", problem)
    for service, derived in books.services:
        is_due = service.next_due_us is not None and service.next_due_us <= now_us
        if derived != service.recorded_status and not is_due:
            problem = f"It is recorded as {_status(service.recorded_status)}; by its facts it is {_status(derived)}."
            yield Finding(Rule.STATUS, service.name, problem)


def _judge_ledger(name: str, books: AccountBooks) -> Iterator[Finding]:
    account, spent = books.account, sum(books.spent_nanos.values())
    amounts = (("paid in", account.funds_nanos, books.funds_nanos), ("spent", account.spent_nanos, spent))
    for what, kept, lines in amounts:
        if kept != lines:
            yield Finding(
                Rule.LEDGER, name, f"Of nanos {what} the ledger's lines have {lines:,}, the account {kept:,}."
            )


def _judge_pots(name: str, books: AccountBooks) -> Iterator[Finding]:
    left = dict(books.leased)
    for pot in books.pots:
        units = left.pop(_key(pot), 0)
        if units != pot.leased_units:
            problem = f"{pot.leased_units:,} are leased by the pot, {units:,} by its open leases."
            yield Finding(Rule.LEASED, _name(pot), problem)
        if pot.kind is PotKind.TRIAL and pot.spent_units > pot.capacity_units:
            yield Finding(Rule.SPENT, _name(pot), f"{pot.spent_units:,} are spent of {pot.capacity_units:,}.")
    for (service_id, kind, limit, *_), units in left.items():
        subject = f"{name}/services/{service_id}" if service_id else f"{name} limit {limit}"
        if units:
            yield Finding(Rule.LEASED, f"{subject} {kind}", f"{units:,} are on lease of a pot that there is not.")


def _key(pot: PotView) -> Pot:
    limit = ("", "", 0) if pot.limit is None else (pot.limit.limit_uid, pot.limit.member_uid, pot.limit.period_start_us)
    return pot.service_id, pot.kind.value, *limit


def _name(pot: PotView) -> str:
    service = f"/services/{pot.service_id}" if pot.service_id else ""
    limit = f" limit {pot.limit.limit_uid}" if pot.limit else ""
    return f"accounts/{pot.account_id}{service}{limit} {pot.kind.value}"


def _status(status: ServiceStatus) -> str:
    return " ".join([status.status.value, *sorted(status.stop_reasons), *sorted(status.billing_modes)])


async def _ledger(connection: AsyncConnection, account_id: str) -> tuple[int, dict[str, int]]:
    """What was paid in and adjusted, and what was used, by the service's uid."""
    nanos = func.coalesce(func.sum(ledger_entries.c.amount_nanos), 0)
    is_usage = ledger_entries.c.kind == LedgerEntryKind.USAGE.value
    paid = await connection.scalar(select(nanos).where(ledger_entries.c.account_id == account_id, ~is_usage))
    used = select(ledger_entries.c.service_uid, nanos).where(ledger_entries.c.account_id == account_id, is_usage)
    rows = await connection.execute(used.group_by(ledger_entries.c.service_uid))
    return int(paid or 0), {service_uid: -int(amount) for service_uid, amount in rows}


async def _leased(connection: AsyncConnection, account_id: str) -> dict[Pot, int]:
    """What open leases have outstanding, by pot."""
    units = func.sum(case((_OUTSTANDING > 0, _OUTSTANDING), else_=0))
    key = (leases.c.service_id, leases.c.kind, leases.c.limit_uid, leases.c.member_uid, leases.c.period_start_us)
    query = select(*key, units).where(leases.c.account_id == account_id, ~leases.c.closed).group_by(*key)
    leased: dict[Pot, int] = defaultdict(int)
    for service_id, kind, limit, member, period, outstanding in await connection.execute(query):
        pot = ("" if kind == PotKind.MONEY.value else service_id, kind, limit or "", member or "", period or 0)
        leased[pot] += int(outstanding)
    return leased


async def _consumed(connection: AsyncConnection, account_id: str) -> dict[str, tuple[str, str, int]]:
    columns = (leases.c.lease_id, leases.c.service_uid, leases.c.kind, leases.c.consumed_units)
    query = select(*columns).where(leases.c.account_id == account_id, leases.c.kind.in_(_COMPARED))
    return {lease_id: (uid, kind, units) for lease_id, uid, kind, units in await connection.execute(query)}


async def _overfull(connection: AsyncConnection, account_id: str) -> list[tuple[str, int, int, int]]:
    """As the rows have it: what reads a rate for a decision never sees more than its burst."""
    reserved, ruled = rate_buckets.c, rule_pots.c
    columns = (reserved.service_uid, reserved.kind, reserved.level_micro, reserved.leased_units)
    buckets = select(*columns, reserved.rate_tokens_per_minute).where(reserved.account_id == account_id)
    of_rates = (ruled.account_id == account_id, ruled.kind == PotKind.RATE.value)
    rules = select(ruled.limit_uid, ruled.level_parts, ruled.leased_units, ruled.burst_units, ruled.period_ms)
    found = [
        (f"service {uid} {kind}", level // MICRO_PER_TOKEN, leased, rate)
        for uid, kind, level, leased, rate in await connection.execute(buckets)
    ]
    found += [
        (f"limit {uid}", level // period_ms, leased, burst)
        for uid, level, leased, burst, period_ms in await connection.execute(rules.where(*of_rates))
    ]
    return [(whose, level, leased, most) for whose, level, leased, most in found if level > max(0, most - leased)]


async def _services(tx: SqlTransaction, account_id: str, now_us: int) -> list[tuple[Service, ServiceStatus]]:
    """All stored services, tombstones included, each with the status that follows from its facts."""
    account = await tx.accounts.get(account_id)
    wanted, last_id = ServiceFilter(account_id=account_id, show_deleted=True), ""
    found: list[tuple[Service, ServiceStatus]] = []
    while page := await tx.services.page(wanted, (account_id, last_id), PAGE):
        found += [(each, (await view(tx, account, each, now_us)).derived) for each in page]
        last_id = page[-1].service_id
    return found


async def _pots(tx: SqlTransaction, account_id: str, now_us: int) -> list[PotView]:
    after = BEFORE_ALL
    found: list[PotView] = []
    while page := await list_pots(tx, account_id, None, after=after, limit=PAGE, now_us=now_us):
        found += page
        after = page[-1].position
    return found
