"""The catalogue as rows."""

from collections import defaultdict
from collections.abc import Collection, Mapping, Sequence
from dataclasses import asdict
from functools import cache
from typing import Any, Final

from sqlalchemy import (
    BigInteger,
    bindparam,
    delete,
    desc,
    insert,
    null,
    select,
    union_all,
    update,
)
from sqlalchemy.exc import IntegrityError
from sqlalchemy.ext.asyncio import AsyncConnection
from typing_extensions import override

from control_service.domain.errors import ResourceExistsError, ResourceNotFoundError
from control_service.domain.model import Model, ReservationPrice, TrialOffer
from control_service.domain.names import model_name
from control_service.domain.price import Price
from control_service.storage import catalogue_schema
from control_service.storage.given import is_one_of, keys_of
from control_service.usecases.batches import in_batches
from control_service.usecases.ports import Models
from tallygate._server.database.fixed_query import FixedQuery

_models = catalogue_schema.models
_aliases = catalogue_schema.model_aliases
_prices = catalogue_schema.prices
_withdrawn = catalogue_schema.withdrawn_prices
_FIND: Final = FixedQuery(select(_models).where(_models.c.model_id == bindparam("model_id")))
_PAGE: Final = FixedQuery(
    select(_models)
    .where(_models.c.model_id > bindparam("after"))
    .order_by(_models.c.model_id)
    .limit(bindparam("page_size", type_=BigInteger))
)
_WITH_ALIAS: Final = FixedQuery(
    select(_models)
    .join(_aliases, _aliases.c.model_id == _models.c.model_id)
    .where(_aliases.c.alias == bindparam("alias"))
)


class ModelRows(Models):
    """Models with their aliases and prices as rows."""

    def __init__(self, connection: AsyncConnection) -> None:
        self._connection = connection

    @override
    async def find(self, model_id: str) -> Model | None:
        found = await self._read(_FIND, {"model_id": model_id})
        return found[0] if found else None

    @override
    async def get(self, model_id: str) -> Model:
        model = await self.find(model_id)
        if model is None:
            raise ResourceNotFoundError(model_name(model_id))
        return model

    @override
    async def add(self, model: Model) -> None:
        try:
            await self._connection.execute(insert(_models).values(_values(model)))
        except IntegrityError as error:
            raise ResourceExistsError(model_name(model.model_id)) from error
        await self._add_aliases(model.model_id, model.aliases)

    @override
    async def save(self, model: Model) -> None:
        key = _models.c.model_id == model.model_id
        await self._connection.execute(update(_models).where(key).values(_values(model)))
        await self._connection.execute(delete(_aliases).where(_aliases.c.model_id == model.model_id))
        await self._add_aliases(model.model_id, model.aliases)

    @override
    async def page(self, after: str, limit: int) -> list[Model]:
        return await self._read(_PAGE, {"after": after, "page_size": limit})

    @override
    async def among(self, model_ids: Collection[str]) -> list[Model]:
        dialect = self._connection.dialect.name
        return await self._read(_among(dialect), keys_of(dialect, model_ids))

    @override
    async def with_alias(self, alias: str) -> Model | None:
        found = await self._read(_WITH_ALIAS, {"alias": alias})
        return found[0] if found else None

    @override
    async def known(self, model_ids: Collection[str]) -> frozenset[str]:
        found: set[str] = set()
        for batch in in_batches(model_ids):
            query = select(_models.c.model_id).where(_models.c.model_id.in_(batch))
            found.update((await self._connection.execute(query)).scalars())
        return frozenset(found)

    @override
    async def called(self, texts: Collection[str]) -> dict[str, str]:
        found: dict[str, str] = {}
        for batch in in_batches(texts):
            query = select(_aliases.c.alias, _aliases.c.model_id).where(_aliases.c.alias.in_(batch))
            found.update((alias, model_id) for alias, model_id in await self._connection.execute(query))
        return found | {model_id: model_id for model_id in await self.known(texts)}

    @override
    async def names_of(self, model_ids: Collection[str]) -> frozenset[str]:
        query = select(_aliases.c.alias).where(_aliases.c.model_id.in_(model_ids))
        return frozenset((await self._connection.execute(query)).scalars())

    @override
    async def add_price(self, price: Price) -> None:
        values = asdict(price)
        del values["withdraw_us"]
        await self._connection.execute(insert(_prices).values(values))

    @override
    async def price(self, model_id: str, version: int) -> Price | None:
        found = await self.prices_page(model_id, version + 1, 1)
        return found[0] if found and found[0].version == version else None

    @override
    async def withdraw_price(self, price: Price) -> None:
        version = _prices.c.model_id == price.model_id, _prices.c.version == price.version
        await self._connection.execute(delete(_prices).where(*version))
        await self._connection.execute(insert(_withdrawn).values(asdict(price)))

    @override
    async def prices(self, model_ids: list[str]) -> list[Price]:
        dialect = self._connection.dialect.name
        return [Price(**row) for row in await _prices_of(dialect).rows(self._connection, keys_of(dialect, model_ids))]

    @override
    async def in_force(self, model_ids: Collection[str], now_us: int) -> frozenset[str]:
        dialect = self._connection.dialect.name
        found = await _in_force(dialect).rows(self._connection, keys_of(dialect, model_ids) | {"now_us": now_us})
        return frozenset(row["model_id"] for row in found)

    @override
    async def prices_page(self, model_id: str, before: int, limit: int) -> list[Price]:
        usual = select(_prices, null().cast(BigInteger).label("withdraw_us"))
        both = [
            query.where(table.c.model_id == model_id, table.c.version < before)
            for query, table in ((usual, _prices), (select(_withdrawn), _withdrawn))
        ]
        rows = await self._connection.execute(union_all(*both).order_by(desc("version")).limit(limit))
        return [Price(**row) for row in rows.mappings()]

    async def _read(self, query: FixedQuery, parameters: Mapping[str, Any]) -> list[Model]:
        rows = await query.rows(self._connection, parameters)
        aliases = await self._aliases_of([row["model_id"] for row in rows]) if rows else {}
        return [model_of(row, tuple(aliases.get(row["model_id"], ()))) for row in rows]

    async def _aliases_of(self, model_ids: Sequence[str]) -> dict[str, list[str]]:
        dialect, aliases = self._connection.dialect.name, defaultdict[str, list[str]](list)
        for row in await _aliases_of(dialect).rows(self._connection, keys_of(dialect, model_ids)):
            aliases[row["model_id"]].append(row["alias"])
        return aliases

    async def _add_aliases(self, model_id: str, aliases: Sequence[str]) -> None:
        for alias in aliases:
            try:
                await self._connection.execute(insert(_aliases).values(alias=alias, model_id=model_id))
            except IntegrityError as error:
                message = f"The alias {alias} belongs to another model; take it from there first."
                raise ResourceExistsError(alias, message) from error


@cache
def _among(dialect: str) -> FixedQuery:
    return FixedQuery(select(_models).where(is_one_of(dialect, _models.c.model_id)))


@cache
def _aliases_of(dialect: str) -> FixedQuery:
    return FixedQuery(select(_aliases).where(is_one_of(dialect, _aliases.c.model_id)).order_by(_aliases.c.alias))


@cache
def _prices_of(dialect: str) -> FixedQuery:
    return FixedQuery(select(_prices).where(is_one_of(dialect, _prices.c.model_id)))


@cache
def _in_force(dialect: str) -> FixedQuery:
    query = select(_prices.c.model_id).distinct().where(is_one_of(dialect, _prices.c.model_id))
    return FixedQuery(query.where(_prices.c.effective_us <= bindparam("now_us", type_=BigInteger)))


def _values(model: Model) -> dict[str, object]:
    values = asdict(model)
    for derived in ("aliases", "trial_offer", "reservation_price"):
        del values[derived]
    offer, price = model.trial_offer, model.reservation_price
    return values | {
        "trial_quota_tokens": offer.quota_tokens if offer else None,
        "trial_valid_for_us": offer.valid_for_us if offer else None,
        "reservation_input_nanos": price.input_nanos_per_thousand_tpm_day if price else None,
        "reservation_output_nanos": price.output_nanos_per_thousand_tpm_day if price else None,
    }


def model_of(row: Mapping[Any, Any], aliases: tuple[str, ...]) -> Model:
    """The model in a row of the table `models`."""
    values = dict(row)
    quota, valid_for_us = values.pop("trial_quota_tokens"), values.pop("trial_valid_for_us")
    input_nanos, output_nanos = values.pop("reservation_input_nanos"), values.pop("reservation_output_nanos")
    return Model(
        **values,
        aliases=aliases,
        trial_offer=None if quota is None else TrialOffer(quota, valid_for_us),
        reservation_price=None if input_nanos is None else ReservationPrice(input_nanos, output_nanos),
    )
