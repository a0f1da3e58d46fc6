"""Configurations for nodes, and the changes to them that are due, read in batches."""

from collections.abc import Collection
from typing import Any, Final

from sqlalchemy import ColumnElement, Select, and_, exists, literal_column, not_, or_, select, tuple_, update
from sqlalchemy.ext.asyncio import AsyncConnection
from typing_extensions import override

from control_service.domain.names import model_of_default
from control_service.domain.price import Price
from control_service.domain.reservation import Reservation
from control_service.domain.service import Service
from control_service.domain.status import PostpaidState
from control_service.storage import catalogue_schema, schema
from control_service.storage.accounts import account_of
from control_service.storage.batch_rows import BatchRows
from control_service.storage.limit_schema import budgets as _budgets
from control_service.storage.models import model_of
from control_service.storage.services import (
    has_price_in_force,
    recorded_retired,
    recorded_unpriced,
    service_of,
    services_read,
)
from control_service.usecases.fleet_ports import Changes, Configs, Due, Subjects

_accounts = schema.accounts
_services = schema.services
_models = catalogue_schema.models
_raise_us = _budgets.c.raise_due_us
_prices = catalogue_schema.prices
_reservations = schema.reservations
untold: Final[ColumnElement[bool]] = literal_column("NOT services.fleet_told")
"""As the condition of the partial index has it: SQLite takes no other form for the same."""
_service_key = (_services.c.account_id, _services.c.service_id)


class ConfigRows(Configs):
    """The rows that configurations are made of."""

    def __init__(self, connection: AsyncConnection) -> None:
        self._connection = connection

    @override
    async def changes(self, since_version: int) -> Changes:
        services = await self._rows(select(*_service_key).where(_services.c.config_version > since_version))
        models = await self._rows(select(_models.c.model_id).where(_models.c.config_version > since_version))
        return Changes(
            services=frozenset((row["account_id"], row["service_id"]) for row in services),
            model_ids=frozenset(row["model_id"] for row in models),
        )

    @override
    async def subjects(self, keys: Collection[tuple[str, str]], now_us: int) -> Subjects:
        account_ids = {account_id for account_id, _ in keys}
        accounts = await self._rows(select(_accounts).where(_accounts.c.account_id.in_(account_ids)))
        stored = await self._rows(services_read.where(tuple_(*_service_key).in_(list(keys))))
        services = {(service.account_id, service.service_id): service for service in map(service_of, stored)}
        model_ids = {service.model_id for service in services.values()}
        model_ids |= {model_id for _, service_id in keys if (model_id := model_of_default(service_id)) is not None}
        models = await self._rows(select(_models).where(_models.c.model_id.in_(model_ids)))
        return Subjects(
            accounts={account.account_id: account for account in map(account_of, accounts)},
            services=services,
            reservations=await self._reservations(services.values(), now_us),
            models={row["model_id"]: model_of(row, ()) for row in models},
            prices=await self._prices(model_ids, now_us),
        )

    @override
    async def awaiting_fleet(self, version: int) -> list[tuple[str, str]]:
        query = select(*_service_key).where(untold, _services.c.activation_version <= version)
        return [(row["account_id"], row["service_id"]) for row in await self._rows(query.order_by(*_service_key))]

    @override
    async def reschedule_missed(self, now_us: int, due_us: int) -> int:
        of_service = (_reservations.c.account_id == _services.c.account_id) & (
            _reservations.c.service_id == _services.c.service_id
        )
        ends = exists().where(
            of_service,
            not_(_reservations.c.cancelled),
            _reservations.c.end_us > now_us,
            _is_missed(_services.c.next_due_us, _reservations.c.end_us),
        )
        expires = and_(
            _services.c.trial_expire_us > now_us, _is_missed(_services.c.next_due_us, _services.c.trial_expire_us)
        )
        priced = has_price_in_force(now_us)
        loses_its_price = and_(_services.c.postpaid == PostpaidState.ENABLED, not_(recorded_unpriced()), not_(priced))
        has_it_again = and_(recorded_unpriced(), priced)
        services = update(_services).where(
            _services.c.delete_us.is_(None), or_(expires, ends, loses_its_price, has_it_again)
        )
        takes_effect = exists().where(
            _prices.c.model_id == _models.c.model_id,
            _prices.c.effective_us > now_us,
            _is_missed(_models.c.next_due_us, _prices.c.effective_us),
        )
        leaves_services_behind = exists().where(
            _services.c.model_id == _models.c.model_id,
            _services.c.delete_us.is_(None),
            recorded_retired() != _models.c.retire_us.is_not(None),
        )
        changed = 0
        for found in (services, update(_models).where(or_(takes_effect, leaves_services_behind))):
            changed += (await self._connection.execute(found.values(next_due_us=due_us))).rowcount
        is_raised = and_(_budgets.c.raised_until_us > now_us, _budgets.c.delete_us.is_(None))
        raises = update(_budgets).where(is_raised, _raise_us.is_(None)).values(raise_due_us=_budgets.c.raised_until_us)
        return changed + (await self._connection.execute(raises)).rowcount

    @override
    async def due(self, now_us: int, limit: int) -> Due:
        services = select(*_service_key).where(_services.c.next_due_us <= now_us).order_by(_services.c.next_due_us)
        models = select(_models.c.model_id).where(_models.c.next_due_us <= now_us).order_by(_models.c.next_due_us)
        raises = (
            select(_budgets.c.account_id, _budgets.c.budget_id)
            .where(_raise_us <= now_us, _raise_us.is_not(None), _budgets.c.delete_us.is_(None))
            .order_by(_raise_us)
        )
        return Due(
            services=[(row["account_id"], row["service_id"]) for row in await self._rows(services.limit(limit))],
            model_ids=[row["model_id"] for row in await self._rows(models.limit(limit))],
            raises=[(row["account_id"], row["budget_id"]) for row in await self._rows(raises.limit(limit))],
        )

    async def _reservations(self, services: Collection[Service], now_us: int) -> dict[str, list[Reservation]]:
        reserved = [service for service in services if service.reservation_count]
        return await BatchRows(self._connection).reservations(reserved, now_us) if reserved else {}

    async def _prices(self, model_ids: Collection[str], now_us: int) -> dict[str, Price]:
        """The prices in force by model: the last in this order, as `price_in_force` chooses."""
        query = select(_prices).where(_prices.c.model_id.in_(model_ids), _prices.c.effective_us <= now_us)
        rows = await self._rows(query.order_by(_prices.c.effective_us, _prices.c.version))
        return {row["model_id"]: Price(**row) for row in rows}

    async def _rows(self, query: Select[Any]) -> Any:
        return (await self._connection.execute(query)).mappings().all()


def _is_missed(next_due: ColumnElement[Any], to_come: ColumnElement[Any]) -> ColumnElement[bool]:
    return or_(next_due.is_(None), next_due > to_come)
