"""Service accounts as rows."""

from sqlalchemy import ColumnElement, RowMapping, and_, func, insert, select, tuple_, update
from sqlalchemy.exc import IntegrityError
from sqlalchemy.ext.asyncio import AsyncConnection
from typing_extensions import override

from control_service.domain.errors import ResourceExistsError
from control_service.domain.service_account import ServiceAccount
from control_service.storage import access_schema
from control_service.storage.scopes import is_on, is_wanted, scope_values
from control_service.usecases.access_ports import ScopedKey, ScopeFilter, ServiceAccounts
from tallygate._access.scope import Scope

_service_accounts = access_schema.service_accounts
_key = (_service_accounts.c.account_id, _service_accounts.c.team_id, _service_accounts.c.service_account_id)


class ServiceAccountRows(ServiceAccounts):
    """Service accounts as rows."""

    def __init__(self, connection: AsyncConnection) -> None:
        self._connection = connection

    @override
    async def find(self, scope: Scope, service_account_id: str) -> ServiceAccount | None:
        query = select(_service_accounts).where(_is(scope, service_account_id))
        row = (await self._connection.execute(query)).mappings().one_or_none()
        return None if row is None else _service_account(row)

    @override
    async def add(self, service_account: ServiceAccount) -> None:
        try:
            await self._connection.execute(insert(_service_accounts).values(_values(service_account)))
        except IntegrityError as error:
            raise ResourceExistsError(service_account.name) from error

    @override
    async def save(self, service_account: ServiceAccount) -> None:
        key = _is(service_account.scope, service_account.service_account_id)
        await self._connection.execute(update(_service_accounts).where(key).values(_values(service_account)))

    @override
    async def count(self, account_id: str) -> int:
        living = _service_accounts.c.account_id == account_id, _service_accounts.c.delete_us.is_(None)
        counted = select(func.count()).select_from(_service_accounts).where(*living)
        return int((await self._connection.execute(counted)).scalar_one())

    @override
    async def any_in(self, scope: Scope) -> bool:
        query = select(_service_accounts.c.service_account_id).where(
            is_on(_service_accounts, scope), _service_accounts.c.delete_us.is_(None)
        )
        return (await self._connection.execute(query.limit(1))).first() is not None

    @override
    async def page(self, wanted: ScopeFilter, after: ScopedKey, limit: int) -> list[ServiceAccount]:
        query = select(_service_accounts).where(
            is_wanted(_service_accounts, wanted), tuple_(*_key) > after, _service_accounts.c.delete_us.is_(None)
        )
        rows = await self._connection.execute(query.order_by(*_key).limit(limit))
        return [_service_account(row) for row in rows.mappings()]


def _is(scope: Scope, service_account_id: str) -> ColumnElement[bool]:
    return and_(is_on(_service_accounts, scope), _service_accounts.c.service_account_id == service_account_id)


def _values(service_account: ServiceAccount) -> dict[str, object]:
    names = ("service_account_id", "display_name", "creator", "create_us", "delete_us")
    return scope_values(service_account.scope) | {name: getattr(service_account, name) for name in names}


def _service_account(row: RowMapping) -> ServiceAccount:
    values = dict(row)
    return ServiceAccount(scope=Scope(values.pop("account_id"), values.pop("team_id")), **values)
