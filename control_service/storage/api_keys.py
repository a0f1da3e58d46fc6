"""API keys and their secrets as rows."""

import json
from collections.abc import Collection, Iterable
from dataclasses import asdict
from typing import Any, Final

from sqlalchemy import ColumnElement, RowMapping, Select, and_, case, delete, insert, select, tuple_, update
from sqlalchemy.exc import IntegrityError
from sqlalchemy.ext.asyncio import AsyncConnection
from typing_extensions import override

from control_service.domain.api_key import ApiKey, KeyScope, KeySecret
from control_service.storage.key_schema import api_key_secrets as _secrets
from control_service.storage.key_schema import api_keys as _keys
from control_service.storage.limit_schema import budgets as _budgets
from control_service.storage.limit_schema import rate_rules as _rate_rules
from control_service.storage.scopes import is_seen
from control_service.usecases.batches import in_batches
from control_service.usecases.key_ports import ApiKeys, FoundSecret, KeyFilter, SecretTakenError
from tallygate._access.rights import Sight

_key = (_keys.c.account_id, _keys.c.key_id)
_is_of_secret = and_(_keys.c.account_id == _secrets.c.account_id, _keys.c.key_id == _secrets.c.key_id)
_LEFT_OF_TEMPORARY: Final = {
    "display_name": "",
    "owner": "",
    "creator": "",
    "service_ids": "[]",
    "model_ids": "[]",
    "routes": "{}",
    "networks": "[]",
    "forget_us": None,
}
"""Values of a temporary key that has ended: programs make them by the thousand, and each name stays taken.

Its name and unique id stay, by which usage, limits and leases name it, its team, by which it is read, and its times.
"""


class ApiKeyRows(ApiKeys):
    """API keys and their secrets as rows."""

    def __init__(self, connection: AsyncConnection) -> None:
        self._connection = connection

    @override
    async def find(self, account_id: str, key_id: str) -> ApiKey | None:
        found = await self._read(select(_keys).where(_is(account_id, key_id)))
        return found[0] if found else None

    @override
    async def used_ids(self, account_id: str, key_ids: Collection[str]) -> frozenset[str]:
        query = select(_keys.c.key_id).where(_keys.c.account_id == account_id)
        used: set[str] = set()
        for batch in in_batches(key_ids):
            used.update((await self._connection.execute(query.where(_keys.c.key_id.in_(batch)))).scalars())
        return frozenset(used)

    @override
    async def add(self, keys: Collection[ApiKey], secrets: Collection[KeySecret]) -> None:
        await self._connection.execute(insert(_keys), [_values(key) for key in keys])
        ends = {(key.account_id, key.key_id): key.expire_us for key in keys if key.temporary}
        await self._add_secrets(
            asdict(secret) | {"forget_us": ends.get((secret.account_id, secret.key_id))} for secret in secrets
        )

    @override
    async def save(self, key: ApiKey) -> None:
        await self._connection.execute(update(_keys).where(_is(key.account_id, key.key_id)).values(_values(key)))
        if key.delete_us is not None:
            ended = update(_secrets).where(_is_secret_of(key.account_id, key.key_id))
            await self._connection.execute(ended.values(forget_us=key.delete_us))

    @override
    async def taken(self, secret_hashes: Collection[bytes]) -> frozenset[bytes]:
        found: set[bytes] = set()
        for batch in in_batches(secret_hashes):
            query = select(_secrets.c.secret_hash).where(_secrets.c.secret_hash.in_(batch))
            found.update((await self._connection.execute(query)).scalars())
        return frozenset(found)

    @override
    async def replace_secret(self, key: ApiKey, secret: KeySecret, end_us: int, now_us: int) -> None:
        end = _secrets.c.expire_us
        earlier_us = case((end.is_(None), end_us), (end > now_us, now_us), else_=end)
        ended = update(_secrets).where(_is_secret_of(secret.account_id, secret.key_id))
        await self._connection.execute(ended.values(expire_us=earlier_us, forget_us=earlier_us))
        await self._add_secrets([asdict(secret) | {"forget_us": key.expire_us if key.temporary else None}])

    @override
    async def by_secret(self, secret_hashes: Collection[bytes]) -> dict[bytes, FoundSecret]:
        found: dict[bytes, FoundSecret] = {}
        query = select(_secrets.c.secret_hash, _secrets.c.expire_us.label("secret_expire_us"), _keys)
        for batch in in_batches(secret_hashes):
            wanted = query.join(_keys, _is_of_secret).where(_secrets.c.secret_hash.in_(batch))
            for row in (await self._connection.execute(wanted)).mappings():
                values = dict(row)
                secret_hash, expire_us = values.pop("secret_hash"), values.pop("secret_expire_us")
                key = _api_key(values)
                secret = KeySecret(secret_hash, key.account_id, key.key_id, expire_us)
                found[secret_hash] = FoundSecret(secret, key)
        return found

    @override
    async def changed(self, since_version: int) -> list[bytes]:
        query = select(_secrets.c.secret_hash).join(_keys, _is_of_secret)
        rows = await self._connection.execute(query.where(_keys.c.config_version > since_version))
        return list(rows.scalars())

    @override
    async def page(self, wanted: KeyFilter, after: tuple[str, str], limit: int) -> list[ApiKey]:
        """Keys of single teams are read team by team: an account's other keys cost nothing then."""
        query = select(_keys).limit(limit)
        if not wanted.show_deleted:
            query = query.where(_keys.c.delete_us.is_(None))
        teams = _single_teams(wanted)
        if teams is None:
            seen = query.where(tuple_(*_key) > after, is_seen(_keys.c.account_id, _keys.c.team, wanted.sight))
            if wanted.account_id is not None:
                seen = seen.where(_keys.c.account_id == wanted.account_id)
            if wanted.team is not None:
                seen = seen.where(_keys.c.team == wanted.team)
            return await self._read(seen.order_by(*_key))
        found: list[ApiKey] = []
        for account_id, team in teams:
            if account_id >= after[0]:
                key_after = after[1] if account_id == after[0] else ""
                of_team = and_(_keys.c.account_id == account_id, _keys.c.team == team, _keys.c.key_id > key_after)
                found += await self._read(query.where(of_team).order_by(_keys.c.key_id))
        return sorted(found, key=lambda key: (key.account_id, key.key_id))[:limit]

    @override
    async def team_of(self, account_id: str, key_id: str) -> str:
        found = await self._connection.execute(select(_keys.c.team).where(_is(account_id, key_id)))
        return found.scalar_one_or_none() or ""

    @override
    async def in_team(self, account_id: str, team_id: str) -> str | None:
        query = select(_keys.c.key_id).where(
            _keys.c.account_id == account_id, _keys.c.team == team_id, _keys.c.delete_us.is_(None)
        )
        found = await self._connection.execute(query.order_by(_keys.c.key_id).limit(1))
        return found.scalar_one_or_none()

    @override
    async def any_in(self, account_id: str) -> bool:
        query = select(_keys.c.key_id).where(_keys.c.account_id == account_id).limit(1)
        return (await self._connection.execute(query)).first() is not None

    @override
    async def purge(self, before_us: int, limit: int) -> int:
        over = select(*_key).where(_keys.c.forget_us < before_us).order_by(_keys.c.forget_us).limit(limit)
        keys = [(row.account_id, row.key_id) for row in await self._connection.execute(over)]
        for batch in in_batches(keys):
            ended = update(_keys).where(tuple_(*_key).in_(batch))
            await self._connection.execute(ended.values(delete_us=_keys.c.expire_us, **_LEFT_OF_TEMPORARY))
            await self._end_limits(batch)
        old = select(_secrets.c.secret_hash).where(_secrets.c.forget_us < before_us)
        chosen = old.order_by(_secrets.c.forget_us).limit(limit)
        forgotten = await self._connection.execute(delete(_secrets).where(_secrets.c.secret_hash.in_(chosen)))
        return max(len(keys), forgotten.rowcount)

    async def _end_limits(self, keys: list[tuple[str, str]]) -> None:
        """Ends the limits of temporary keys that ended, with them; nodes know that these open nothing any more."""
        for limits in (_rate_rules, _budgets):
            of_key = and_(limits.c.account_id == _keys.c.account_id, limits.c.place_id == _keys.c.key_id)
            end_us = select(_keys.c.delete_us).where(of_key).scalar_subquery()
            hangs_on = and_(limits.c.place_kind == "KEY", tuple_(limits.c.account_id, limits.c.place_id).in_(keys))
            ended = update(limits).where(hangs_on, limits.c.delete_us.is_(None))
            await self._connection.execute(ended.values(delete_us=end_us, update_us=end_us))

    async def _add_secrets(self, rows: Iterable[dict[str, Any]]) -> None:
        try:
            await self._connection.execute(insert(_secrets), list(rows))
        except IntegrityError as error:
            raise SecretTakenError from error

    async def _read(self, query: Select[Any]) -> list[ApiKey]:
        return [_api_key(row) for row in (await self._connection.execute(query)).mappings()]


def _is(account_id: str, key_id: str) -> ColumnElement[bool]:
    return and_(_keys.c.account_id == account_id, _keys.c.key_id == key_id)


def _is_secret_of(account_id: str, key_id: str) -> ColumnElement[bool]:
    return and_(_secrets.c.account_id == account_id, _secrets.c.key_id == key_id)


def _single_teams(wanted: KeyFilter) -> list[tuple[str, str]] | None:
    """The teams whose keys are listed, where that is all; None where the caller sees whole accounts, and wants them."""
    sight: Sight = wanted.sight
    if wanted.account_id is not None and wanted.team is not None:
        team = (wanted.account_id, wanted.team)
        return [team] if sight.shows(*team) else []
    if sight.everywhere or (sight.account_ids if wanted.account_id is None else wanted.account_id in sight.account_ids):
        return None
    return sorted(
        team for team in sight.teams if wanted.account_id in (None, team[0]) and wanted.team in (None, team[1])
    )


def _values(key: ApiKey) -> dict[str, Any]:
    values = asdict(key)
    del values["scope"]
    return values | {
        "forget_us": key.expire_us if key.temporary and key.delete_us is None else None,
        "service_ids": _pack(key.scope.service_ids),
        "model_ids": _pack(key.scope.model_ids),
        "routes": json.dumps(dict(key.routes), sort_keys=True),
        "networks": json.dumps(key.networks),
    }


def _api_key(row: RowMapping | dict[str, Any]) -> ApiKey:
    values = dict(row)
    del values["forget_us"]
    scope = KeyScope(_unpack(values.pop("service_ids")), _unpack(values.pop("model_ids")))
    return ApiKey(
        **values
        | {"scope": scope, "routes": json.loads(values["routes"]), "networks": tuple(json.loads(values["networks"]))}
    )


def _pack(ids: tuple[str, ...] | None) -> str | None:
    return None if ids is None else json.dumps(ids)


def _unpack(packed: str | None) -> tuple[str, ...] | None:
    return None if packed is None else tuple(json.loads(packed))
