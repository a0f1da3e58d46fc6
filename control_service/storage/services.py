"""Inference services as rows."""

import json
from collections.abc import Collection, Iterable, Mapping
from dataclasses import asdict
from enum import StrEnum
from functools import cache
from typing import Any, Final, TypeVar

from sqlalchemy import ColumnElement, Select, and_, bindparam, exists, insert, or_, select, tuple_, update
from sqlalchemy.exc import IntegrityError
from sqlalchemy.ext.asyncio import AsyncConnection
from typing_extensions import override

from control_service.domain.errors import ResourceExistsError
from control_service.domain.service import CredentialPolicy, OutagePolicy, Service, ServiceKind
from control_service.domain.status import BillingMode, PostpaidState, Status, StopReason
from control_service.domain.trial import Trial
from control_service.storage import catalogue_schema, schema
from control_service.storage.given import TEXT, Columns, given, is_one_of, keys_of, parameters
from control_service.storage.scopes import is_seen
from control_service.usecases.ports import ServiceFilter, Services
from tallygate._server.database.fixed_query import FixedQuery

Member = TypeVar("Member", bound=StrEnum)

_services = schema.services
_claims = schema.trial_claims
_prices = catalogue_schema.prices
_models = catalogue_schema.models
_model_retired = (
    select(_models.c.retire_us.is_not(None)).where(_models.c.model_id == _services.c.model_id).scalar_subquery()
)
services_read: Final[Select[Any]] = select(_services, _model_retired.label("model_retired"))
"""The query of services, each with what `service_of` needs of its model."""
_FIND: Final = FixedQuery(
    services_read.where(
        _services.c.account_id == bindparam("account_id"), _services.c.service_id == bindparam("service_id")
    )
)
_CLAIM: Final[Columns] = {"account_id": TEXT, "model_id": TEXT}


class ServiceRows(Services):
    """Services and claims of trials as rows."""

    def __init__(self, connection: AsyncConnection) -> None:
        self._connection = connection

    @override
    async def find(self, account_id: str, service_id: str) -> Service | None:
        found = await _FIND.rows(self._connection, {"account_id": account_id, "service_id": service_id})
        return service_of(found[0]) if found else None

    @override
    async def add(self, service: Service) -> None:
        try:
            await self._connection.execute(insert(_services).values(_values(service)))
        except IntegrityError as error:
            raise ResourceExistsError(service.name) from error

    @override
    async def save(self, service: Service) -> None:
        key = _key(service.account_id, service.service_id)
        await self._connection.execute(update(_services).where(key).values(_values(service)))

    @override
    async def page(self, wanted: ServiceFilter, after: tuple[str, str], limit: int) -> list[Service]:
        account, service = _services.c.account_id, _services.c.service_id
        query = services_read.where(_is_after(after, wanted.account_id))
        equal = {
            account: wanted.account_id,
            _services.c.model_id: wanted.model_id,
            _services.c.team: wanted.team,
            _services.c.told_status: wanted.told_status,
        }
        query = query.where(*(column == value for column, value in equal.items() if value is not None))
        if not wanted.show_deleted:
            query = query.where(_services.c.delete_us.is_(None))
        query = query.where(is_seen(account, _services.c.team, wanted.sight))
        return await self._read(query.order_by(account, service).limit(limit))

    @override
    async def among(self, account_id: str, service_ids: Collection[str]) -> list[Service]:
        dialect = self._connection.dialect.name
        wanted = keys_of(dialect, service_ids) | {"account_id": account_id}
        return [service_of(row) for row in await _among(dialect).rows(self._connection, wanted)]

    @override
    async def team_of(self, account_id: str, service_id: str) -> str:
        found = await self._connection.execute(select(_services.c.team).where(_key(account_id, service_id)))
        return found.scalar_one_or_none() or ""

    @override
    async def in_team(self, account_id: str, team_id: str) -> str | None:
        query = select(_services.c.service_id).where(
            _services.c.account_id == account_id, _services.c.team == team_id, _services.c.delete_us.is_(None)
        )
        found = await self._connection.execute(query.order_by(_services.c.service_id).limit(1))
        return found.scalar_one_or_none()

    @override
    async def with_postpaid(self, account_id: str) -> list[Service]:
        query = services_read.where(
            _services.c.account_id == account_id,
            _services.c.postpaid == PostpaidState.ENABLED,
            _services.c.delete_us.is_(None),
        )
        return await self._read(query.order_by(_services.c.service_id))

    @override
    async def of_account(self, account_id: str) -> list[Service]:
        query = services_read.where(_services.c.account_id == account_id, _services.c.delete_us.is_(None))
        return await self._read(query.order_by(_services.c.service_id))

    @override
    async def behind_model(self, model_id: str, now_us: int, limit: int) -> list[tuple[str, str]]:
        key = (_services.c.account_id, _services.c.service_id)
        is_priced_again = and_(recorded_unpriced(), has_price_in_force(now_us))
        query = select(*key).where(
            _services.c.model_id == model_id,
            _services.c.delete_us.is_(None),
            or_(is_priced_again, recorded_retired() != _model_retired),
        )
        rows = await self._connection.execute(query.order_by(*key).limit(limit))
        return [(account_id, service_id) for account_id, service_id in rows]

    @override
    async def claim_trial(self, account_id: str, model_id: str, service_id: str, now_us: int) -> str:
        claim = and_(_claims.c.account_id == account_id, _claims.c.model_id == model_id)
        owner = (await self._connection.execute(select(_claims.c.service_id).where(claim))).scalar_one_or_none()
        if owner is not None:
            return str(owner)
        row = {"account_id": account_id, "model_id": model_id, "service_id": service_id, "create_us": now_us}
        await self._connection.execute(insert(_claims).values(row))
        return service_id

    @override
    async def trial_owners(self, claims: Collection[tuple[str, str]]) -> dict[tuple[str, str], str]:
        if not claims:
            return {}
        dialect = self._connection.dialect.name
        rows = await _owners(dialect).rows(self._connection, parameters(dialect, _CLAIM, claims))
        return {(row["account_id"], row["model_id"]): row["service_id"] for row in rows}

    async def _read(self, query: Select[Any]) -> list[Service]:
        return [service_of(row) for row in (await self._connection.execute(query)).mappings()]


@cache
def _among(dialect: str) -> FixedQuery:
    of_account = services_read.where(_services.c.account_id == bindparam("account_id"))
    return FixedQuery(of_account.where(is_one_of(dialect, _services.c.service_id)))


@cache
def _owners(dialect: str) -> FixedQuery:
    rows = given(dialect, _CLAIM)
    claimed = _claims.c.account_id == rows.c.account_id, _claims.c.model_id == rows.c.model_id
    return FixedQuery(select(_claims.c.account_id, _claims.c.model_id, _claims.c.service_id).where(*claimed))


def recorded_unpriced() -> ColumnElement[bool]:
    """Whether NO_PRICE is among the stop reasons as they were last stored."""
    return _services.c.told_stop_reasons.contains(StopReason.NO_PRICE)


def recorded_retired() -> ColumnElement[bool]:
    """Whether MODEL_RETIRED is among the stop reasons as they were last stored."""
    return _services.c.told_stop_reasons.contains(StopReason.MODEL_RETIRED)


def has_price_in_force(now_us: int) -> ColumnElement[bool]:
    """Whether the service's model has a price in force."""
    return exists().where(_prices.c.model_id == _services.c.model_id, _prices.c.effective_us <= now_us)


def _key(account_id: str, service_id: str) -> ColumnElement[bool]:
    return and_(_services.c.account_id == account_id, _services.c.service_id == service_id)


def _is_after(after: tuple[str, str], account_id: str | None) -> ColumnElement[bool]:
    """Whether a row is after this key in lists. Written so that both databases begin there in an index."""
    key = _services.c.account_id, _services.c.service_id
    return key[1] > after[1] if account_id == after[0] else tuple_(*key) > tuple_(*after)


def _values(service: Service) -> dict[str, object]:
    values = asdict(service)
    del values["trial"], values["model_retired"]
    trial = service.trial
    return values | {
        "labels": json.dumps(values["labels"], sort_keys=True),
        "told_stop_reasons": pack(service.told_stop_reasons),
        "told_billing_modes": pack(service.told_billing_modes),
        "trial_quota_tokens": trial.quota_tokens if trial else None,
        "trial_spent_tokens": trial.spent_tokens if trial else None,
        "trial_leased_tokens": trial.leased_tokens if trial else None,
        "trial_held_tokens": trial.held_tokens if trial else None,
        "trial_smallest_tokens": trial.smallest_tokens if trial else None,
        "trial_claim_us": trial.claim_us if trial else None,
        "trial_expire_us": trial.expire_us if trial else None,
        "trial_told_percent": trial.told_percent if trial else None,
    }


def service_of(row: Mapping[Any, Any]) -> Service:
    """The service in a row of `services_read`."""
    values = dict(row)
    trial = {name: values.pop(f"trial_{name}") for name in Trial.__slots__}
    return Service(
        **values
        | {
            "kind": ServiceKind(values["kind"]),
            "labels": json.loads(values["labels"]),
            "postpaid": PostpaidState(values["postpaid"]),
            "outage_policy": OutagePolicy(values["outage_policy"]),
            "credential_policy": CredentialPolicy(values["credential_policy"]),
            "told_status": Status(values["told_status"]),
            "told_stop_reasons": unpack(StopReason, values["told_stop_reasons"]),
            "told_billing_modes": unpack(BillingMode, values["told_billing_modes"]),
        },
        trial=None if trial["quota_tokens"] is None else Trial(**trial),
    )


def pack(members: Iterable[StrEnum]) -> str:
    """A set of names as one text."""
    return ",".join(sorted(members))


def unpack(kind: type[Member], packed: str) -> frozenset[Member]:
    """The set in a text of `pack`."""
    return frozenset(kind(name) for name in packed.split(",") if name)
