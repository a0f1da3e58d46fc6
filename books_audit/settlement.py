"""What control has settled, next to what the metering database says was used.

Control is read first, the metering database after it, each as of one moment. Between the two moments usage is booked
and consumption on leases grows by the same amounts. So it holds also while both are in use: what was used in all is
what control has settled, and what is consumed on leases that control has not heard of yet.
"""

from collections import defaultdict
from collections.abc import Iterator, Mapping
from itertools import islice
from typing import Final

from sqlalchemy.ext.asyncio import AsyncEngine

from books_audit.account_books import AccountBooks
from books_audit.findings import Finding, Rule
from books_audit.metering_books import BATCH, Lease, leases_named, leases_of, used
from control_service.domain.pot import PotKind
from control_service.domain.service import Service
from tallygate._server.database.engine import read_only

TOLD_WITHIN_US: Final = 600_000_000
"""Maximum time after the closing of a lease in which control may not have read of it, as databases are read in turn."""

Key = tuple[str, str]
"""A service's uid and the kind of a pot, MONEY or TRIAL."""

_UNITS: Final = {"MONEY": "nanos", "TRIAL": "tokens"}


async def audit_settlement(metering: AsyncEngine, books: AccountBooks, now_us: int) -> list[Finding]:
    """What of an account's money and trials the two databases have differently."""
    names = {service.name: service for service, _ in books.services}
    if not names:
        return []
    async with read_only(metering) as connection:
        used_units = await used(connection, names)
        known: dict[str, Lease] = {}
        ids = iter(books.consumed)
        while batch := list(islice(ids, BATCH)):
            known |= await leases_named(connection, batch)
        unsettled = _unsettled(books, known)
        suspects = [name for name, service in names.items() if _differences(service, books, used_units, unsettled)]
        # Of what a node booked just now control may not have the lease yet, so that nothing names it.
        for lease in await leases_of(connection, suspects) if suspects else ():
            is_told = lease.close_us is not None and lease.close_us < now_us - TOLD_WITHIN_US
            if lease.lease_id not in books.consumed and not is_told:
                unsettled[lease.service_uid, lease.pot_kind.upper()] += lease.consumed_units
    found = list(_ahead(books, known, now_us))
    for name in suspects:
        found += _differences(names[name], books, used_units, unsettled)
    return found


def _unsettled(books: AccountBooks, known: Mapping[str, Lease]) -> defaultdict[Key, int]:
    """What is consumed on leases that control knows, beyond what control knows of it."""
    unsettled: defaultdict[Key, int] = defaultdict(int)
    for lease_id, (uid, kind, consumed) in books.consumed.items():
        if lease_id in known:
            unsettled[uid, kind] += known[lease_id].consumed_units - consumed
    return unsettled


def _ahead(books: AccountBooks, known: Mapping[str, Lease], now_us: int) -> Iterator[Finding]:
    """Leases of which control has settled more than was consumed, or less although they were closed long ago."""
    for lease_id, (_, kind, settled) in books.consumed.items():
        lease = known.get(lease_id)
        if lease is None:
            continue
        is_closed = lease.close_us is not None and lease.close_us < now_us - TOLD_WITHIN_US
        if settled > lease.consumed_units or (is_closed and settled != lease.consumed_units):
            consumed = f"{lease.consumed_units:,} {_UNITS[kind]} are consumed on lease {lease_id}"
            problem = f"{consumed}, control settled {settled:,}."
            yield Finding(Rule.SETTLEMENT, lease.service, problem)


def _differences(
    service: Service, books: AccountBooks, used_units: Mapping[Key, int], unsettled: Mapping[Key, int]
) -> list[Finding]:
    trial = service.trial.spent_tokens if service.trial is not None else 0
    settled = {PotKind.MONEY.value: books.spent_nanos.get(service.uid, 0), PotKind.TRIAL.value: trial}
    found = []
    for kind, units in settled.items():
        key = (service.uid, kind)
        booked, waits = used_units.get(key, 0), unsettled.get(key, 0)
        if booked != units + waits:
            problem = f"{booked:,} {_UNITS[kind]} are booked; control settled {units:,}, and {waits:,} are to come."
            found.append(Finding(Rule.USAGE, service.name, problem))
    return found
