"""Accounts, services and buckets in batches: a few SQL statements for an exchange, or a list, of any length."""

from collections.abc import Collection, Iterable, Mapping, Sequence
from functools import cache
from typing import Any, Final

from sqlalchemy import Executable, RowMapping, Select, bindparam, select, tuple_, update
from sqlalchemy.ext.asyncio import AsyncConnection
from typing_extensions import override

from control_service.domain.account import Account
from control_service.domain.bucket import Bucket
from control_service.domain.pot import PotKey, PotKind
from control_service.domain.reservation import Reservation
from control_service.domain.service import Service
from control_service.storage import schema
from control_service.storage.accounts import account_of
from control_service.storage.given import TEXT, Columns, given, is_one_of, keys_of, parameters
from control_service.storage.ledger import add_usage_lines
from control_service.storage.reservations import reservation_of
from control_service.storage.services import service_of, services_read
from control_service.usecases.batches import in_batches
from control_service.usecases.fleet_ports import Batches, Usage
from tallygate._server.database.fixed_query import FixedQuery
from tallygate._server.database.upsert import upsert

_accounts = schema.accounts
_services = schema.services
_reservations = schema.reservations
_buckets = schema.rate_buckets

_MONEY: Final = ("spent_nanos", "leased_nanos", "overdue_us", "ledger_entry_count", "told_left_nanos")
_TRIAL: Final = ("trial_spent_tokens", "trial_leased_tokens", "trial_held_tokens", "trial_told_percent")
_SERVICE: Final[Columns] = {"account_id": TEXT, "uid": TEXT}
_BUCKETS: Final[Columns] = {"account_id": TEXT, "service_uid": TEXT}
_SAVE_MONEY: Final = (
    update(_accounts)
    .where(_accounts.c.account_id == bindparam("key"))
    .values({name: bindparam(name) for name in _MONEY})
)
_SAVE_TRIAL: Final = (
    update(_services)
    .where(_services.c.account_id == bindparam("account_key"), _services.c.service_id == bindparam("service_key"))
    .values({name: bindparam(name) for name in _TRIAL})
)


class BatchRows(Batches):
    """Accounts, services and buckets as rows, many at a time."""

    def __init__(self, connection: AsyncConnection) -> None:
        self._connection = connection

    @override
    async def lock_accounts(self, account_ids: Collection[str]) -> dict[str, Account]:
        dialect = self._connection.dialect.name
        return _by_id(await self._rows(_lock_accounts(dialect), keys_of(dialect, sorted(account_ids))))

    @override
    async def accounts(self, account_ids: Collection[str]) -> dict[str, Account]:
        dialect = self._connection.dialect.name
        return _by_id(await _all_accounts(dialect).rows(self._connection, keys_of(dialect, sorted(account_ids))))

    @override
    async def services(self, keys: Collection[tuple[str, str]]) -> list[Service]:
        if not keys:
            return []
        dialect = self._connection.dialect.name
        rows = await self._rows(_services_of(dialect), parameters(dialect, _SERVICE, keys))
        return [service_of(row) for row in rows]

    @override
    async def reservations(self, services: Collection[Service], now_us: int) -> dict[str, list[Reservation]]:
        uids = {(service.account_id, service.service_id): service.uid for service in services}
        key = tuple_(_reservations.c.account_id, _reservations.c.service_id)
        query = select(_reservations).where(_reservations.c.end_us > now_us, _reservations.c.cancelled.is_(False))
        found: dict[str, list[Reservation]] = {}
        for batch in in_batches(uids):
            for reservation in map(reservation_of, await self._rows(query.where(key.in_(batch)))):
                found.setdefault(uids[reservation.account_id, reservation.service_id], []).append(reservation)
        return found

    @override
    async def buckets(self, keys: Collection[PotKey]) -> dict[PotKey, Bucket]:
        dialect, found = self._connection.dialect.name, {}
        services = sorted({(key.account, key.service_uid) for key in keys})
        for row in await self._rows(_buckets_of(dialect), parameters(dialect, _BUCKETS, services)):
            values = dict(row)
            key = PotKey(values.pop("account_id"), values.pop("service_uid"), PotKind(values.pop("kind")))
            if key in keys:
                found[key] = Bucket(**values)
        return found

    @override
    async def save_money(self, accounts: Collection[Account]) -> None:
        rows = [
            {
                "key": account.account_id,
                **{name: getattr(account, name) for name in _MONEY},
            }
            for account in accounts
        ]
        if rows:
            await self._connection.execute(_SAVE_MONEY, rows)

    @override
    async def save_trials(self, services: Collection[Service]) -> None:
        rows = [
            {
                "account_key": service.account_id,
                "service_key": service.service_id,
                "trial_spent_tokens": service.trial.spent_tokens,
                "trial_leased_tokens": service.trial.leased_tokens,
                "trial_held_tokens": service.trial.held_tokens,
                "trial_told_percent": service.trial.told_percent,
            }
            for service in services
            if service.trial is not None
        ]
        if rows:
            await self._connection.execute(_SAVE_TRIAL, rows)

    @override
    async def save_buckets(self, buckets: Mapping[PotKey, Bucket]) -> None:
        rows = [
            {
                "account_id": key.account,
                "service_uid": key.service_uid,
                "kind": key.kind,
                "rate_tokens_per_minute": bucket.rate_tokens_per_minute,
                "level_micro": bucket.level_micro,
                "updated_us": bucket.updated_us,
                "leased_units": bucket.leased_units,
                "spent_units": bucket.spent_units,
            }
            for key, bucket in buckets.items()
        ]
        if rows:
            await self._connection.execute(upsert(self._connection.dialect, _buckets), rows)

    @override
    async def add_usage(
        self, accounts: Mapping[str, Account], usage: Collection[Usage], now_us: int
    ) -> dict[str, Account]:
        return await add_usage_lines(self._connection, accounts, usage, now_us)

    async def _rows(self, query: Executable, given: Mapping[str, Any] | None = None) -> Sequence[RowMapping]:
        return (await self._connection.execute(query, given)).mappings().all()


def _by_id(rows: Iterable[Mapping[Any, Any]]) -> dict[str, Account]:
    return {row["account_id"]: account_of(row) for row in rows}


@cache
def _all_accounts(dialect: str) -> FixedQuery:
    return FixedQuery(_accounts_of(dialect))


def _accounts_of(dialect: str) -> Select[Any]:
    return select(_accounts).where(is_one_of(dialect, _accounts.c.account_id))


@cache
def _lock_accounts(dialect: str) -> Executable:
    return _accounts_of(dialect).order_by(_accounts.c.account_id).with_for_update()


@cache
def _services_of(dialect: str) -> Executable:
    rows = given(dialect, _SERVICE)
    return services_read.where(_services.c.account_id == rows.c.account_id, _services.c.uid == rows.c.uid)


@cache
def _buckets_of(dialect: str) -> Executable:
    rows = given(dialect, _BUCKETS)
    of_service = _buckets.c.account_id == rows.c.account_id, _buckets.c.service_uid == rows.c.service_uid
    return select(_buckets).where(*of_service)
