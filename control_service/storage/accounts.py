"""Accounts as rows."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any, Final

from sqlalchemy import bindparam, func, insert, select, update
from sqlalchemy.exc import IntegrityError
from sqlalchemy.ext.asyncio import AsyncConnection
from typing_extensions import override

from control_service.domain.account import Account, OverduePolicy
from control_service.domain.errors import ResourceExistsError, ResourceNotFoundError
from control_service.domain.names import account_name
from control_service.storage import schema
from control_service.storage.columns import pack_numbers, unpack_numbers
from control_service.usecases.ports import Accounts
from tallygate._access.rights import SEES_ALL, Sight
from tallygate._server.database.fixed_query import FixedQuery

_accounts = schema.accounts
_BY_ID: Final = select(_accounts).where(_accounts.c.account_id == bindparam("account_id"))
_GET: Final = FixedQuery(_BY_ID)
_LOCK: Final = _BY_ID.with_for_update()


class AccountRows(Accounts):
    """Accounts as rows."""

    def __init__(self, connection: AsyncConnection) -> None:
        self._connection = connection

    @override
    async def lock(self, account_id: str) -> Account:
        found = await self._connection.execute(_LOCK, {"account_id": account_id})
        return _one(account_id, found.mappings().all())

    @override
    async def get(self, account_id: str) -> Account:
        return _one(account_id, await _GET.rows(self._connection, {"account_id": account_id}))

    @override
    async def add(self, account: Account) -> None:
        try:
            await self._connection.execute(insert(_accounts).values(_values(account)))
        except IntegrityError as error:
            raise ResourceExistsError(account_name(account.account_id)) from error

    @override
    async def save(self, account: Account) -> None:
        key = _accounts.c.account_id == account.account_id
        await self._connection.execute(update(_accounts).where(key).values(_values(account)))

    @override
    async def first_create_us(self) -> int | None:
        first_us: int | None = await self._connection.scalar(select(func.min(_accounts.c.create_us)))
        return first_us

    @override
    async def page(self, after: str, limit: int, sight: Sight = SEES_ALL) -> list[Account]:
        account_id = _accounts.c.account_id
        query = select(_accounts).where(account_id > after)
        if not sight.everywhere:
            query = query.where(account_id.in_(sorted(sight.account_ids)))
        rows = await self._connection.execute(query.order_by(account_id).limit(limit))
        return [account_of(row) for row in rows.mappings()]


def _one(account_id: str, rows: Sequence[Mapping[Any, Any]]) -> Account:
    if not rows:
        raise ResourceNotFoundError(account_name(account_id))
    return account_of(rows[0])


def account_of(row: Mapping[Any, Any]) -> Account:
    """The account in a row of the table `accounts`."""
    values = dict(row)
    return Account(
        **values
        | {
            "overdue_policy": OverduePolicy(values["overdue_policy"]),
            "trial_percents": unpack_numbers(values["trial_percents"]),
            "left_nanos_thresholds": unpack_numbers(values["left_nanos_thresholds"]),
        }
    )


def _values(account: Account) -> dict[str, object]:
    return asdict(account) | {
        "trial_percents": pack_numbers(account.trial_percents),
        "left_nanos_thresholds": pack_numbers(account.left_nanos_thresholds),
    }
