"""Accounts as rows."""

from dataclasses import asdict
from typing import Any

from sqlalchemy import RowMapping, Select, func, insert, select, update
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

_accounts = schema.accounts


class AccountRows(Accounts):
    """Accounts as rows."""

    def __init__(self, connection: AsyncConnection) -> None:
        self._connection = connection

    @override
    async def lock(self, account_id: str) -> Account:
        return await self._one(select(_accounts).with_for_update(), account_id)

    @override
    async def get(self, account_id: str) -> Account:
        return await self._one(select(_accounts), account_id)

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

    async def _one(self, query: Select[Any], account_id: str) -> Account:
        found = await self._connection.execute(query.where(_accounts.c.account_id == account_id))
        row = found.mappings().one_or_none()
        if row is None:
            raise ResourceNotFoundError(account_name(account_id))
        return account_of(row)


def account_of(row: RowMapping) -> Account:
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
