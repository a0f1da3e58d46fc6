"""The books of the metering database: what records of requests say, what aggregates say, what leases say."""

import json
from collections import defaultdict
from collections.abc import AsyncIterator, Collection, Iterable
from typing import Any, Final, NamedTuple

from sqlalchemy import ColumnElement, func, select, tuple_
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from books_audit.findings import Finding, Rule
from metering_service.domain.stamp import HOUR_US, hour_of
from metering_service.storage.schema import IS_OPEN, KINDS, PAYERS, leases, minute_usage, requests, services
from metering_service.usecases.settings import NodeSettings
from tallygate._server.database.engine import read_only

PAGE: Final = 2_000
"""Number of records that one transaction reads."""
BATCH: Final = 500
"""Number of leases that one query names."""

_PAYER_TOKENS: Final = tuple(minute_usage.c[f"{payer}_tokens"] for payer in PAYERS)
_KIND_TOKENS: Final = tuple(minute_usage.c[f"{kind}_tokens"] for kind in KINDS)


class Sums(NamedTuple):
    """What was booked of one service in one hour of authorisation."""

    reserved_tokens: int = 0
    trial_tokens: int = 0
    billed_tokens: int = 0
    unfunded_tokens: int = 0
    overrun_tokens: int = 0
    cost_nanos: int = 0
    debt_nanos: int = 0

    def plus(self, other: Iterable[int]) -> "Sums":
        """Both together."""
        return Sums(*map(sum, zip(self, other, strict=True)))

    def against(self, other: "Sums") -> str:
        """The figures that differ, with those of another source."""
        pairs = zip(self._fields, self, other, strict=True)
        return ", ".join(f"{name} {mine:,} and {its:,}" for name, mine, its in pairs if mine != its)


Hours = dict[tuple[str, int], Sums]
"""By a service's uid and the hour."""


class Lease(NamedTuple):
    """One lease in the metering database."""

    lease_id: str
    service: str
    service_uid: str
    pot_kind: str
    consumed_units: int
    close_us: int | None


async def service_names(engine: AsyncEngine) -> AsyncIterator[str]:
    """Every service that anything was booked of, each once, by name."""
    last = ""
    while True:
        query = select(services.c.service).where(services.c.service > last).distinct()
        async with read_only(engine) as connection:
            names = (await connection.execute(query.order_by(services.c.service).limit(PAGE))).scalars().all()
        for name in names:
            yield name
        if len(names) < PAGE:
            return
        last = names[-1]


async def audit_service(engine: AsyncEngine, service: str, now_us: int) -> tuple[list[Finding], bool]:
    """Whether records and aggregates of a service agree, for every hour of which all records are kept.

    Records are read by pages. What was booked between the first and the last one would look like a difference, so only
    hours are judged whose aggregates are the same before and after; a falsified book is among them sooner or later.

    Returns:
        What does not add up, and whether all hours were judged.
    """
    from_us = hour_of(now_us - NodeSettings().id_retention_us) + HOUR_US
    before = await _aggregates(engine, service, from_us)
    records = await _records(engine, service, from_us)
    after = await _aggregates(engine, service, from_us)
    found: list[Finding] = []
    moving = False
    for key in sorted(before.keys() | records.keys() | after.keys()):
        kept, booked = after.get(key, Sums()), records.get(key, Sums())
        if before.get(key, Sums()) != kept:
            moving = True
        elif kept != booked:
            problem = f"Of the hour {key[1]} (us) aggregates and records differ: {kept.against(booked)}."
            found.append(Finding(Rule.AGGREGATES, service, problem))
    return found, not moving


async def used(connection: AsyncConnection, names: Collection[str]) -> dict[tuple[str, str], int]:
    """What aggregates have of money and trials in all, by a service's uid and kind of pot."""
    sums = (func.sum(minute_usage.c.cost_nanos), func.sum(minute_usage.c.trial_tokens))
    query = select(minute_usage.c.service_uid, *sums).where(minute_usage.c.service.in_(names))
    found: dict[tuple[str, str], int] = {}
    for uid, nanos, tokens in await connection.execute(query.group_by(minute_usage.c.service_uid)):
        found[uid, "MONEY"] = int(nanos)
        found[uid, "TRIAL"] = int(tokens)
    return found


async def leases_named(connection: AsyncConnection, lease_ids: Collection[str]) -> dict[str, Lease]:
    """Those of these leases that are known."""
    return {lease.lease_id: lease async for lease in _leases(connection, leases.c.lease_id.in_(lease_ids))}


async def leases_of(connection: AsyncConnection, names: Collection[str]) -> list[Lease]:
    """All leases for these services, closed ones too, so it is for a suspicion."""
    return [lease async for lease in _leases(connection, leases.c.service.in_(names))]


async def _leases(connection: AsyncConnection, which: ColumnElement[bool]) -> AsyncIterator[Lease]:
    columns = (leases.c[name] for name in Lease._fields)
    for row in await connection.execute(select(*columns).where(which)):
        yield Lease(*row)


async def _aggregates(engine: AsyncEngine, service: str, from_us: int) -> Hours:
    key = (minute_usage.c.service_uid, minute_usage.c.hour_us)
    columns = (*_PAYER_TOKENS, *(minute_usage.c[name] for name in ("overrun_tokens", "cost_nanos", "debt_nanos")))
    # What was authorised in an hour was booked in that hour or later, but for clocks of nodes that differ.
    since_us = from_us - HOUR_US
    which = (minute_usage.c.service == service, minute_usage.c.minute_us >= since_us, minute_usage.c.hour_us >= from_us)
    query = select(*key, *map(func.sum, columns)).where(*which).group_by(*key)
    async with read_only(engine) as connection:
        return {(uid, hour_us): Sums(*map(int, sums)) for uid, hour_us, *sums in await connection.execute(query)}


async def _records(engine: AsyncEngine, service: str, from_us: int) -> Hours:
    found: Hours = defaultdict(Sums)
    key = (requests.c.request_id, requests.c.part)
    columns: tuple[ColumnElement[Any], ...] = (
        *key,
        requests.c.service_uid,
        requests.c.hour_us,
        requests.c.start_us,
        *(requests.c[name] for name in (*PAYERS, "overrun_tokens", "cost_nanos", "debt_nanos")),
        IS_OPEN,
    )
    last = ("", "")
    while True:
        query = select(*columns).where(requests.c.service == service, tuple_(*key) > last).order_by(*key).limit(PAGE)
        async with read_only(engine) as connection:
            rows = (await connection.execute(query)).all()
        for _, _, uid, hour_us, start_us, *booked, is_open in rows:
            hour = hour_us or hour_of(start_us)
            if hour >= from_us and not is_open:
                found[uid, hour] = found[uid, hour].plus((*(sum(json.loads(each)) for each in booked[:4]), *booked[4:]))
        if len(rows) < PAGE:
            return found
        last = rows[-1][:2]
