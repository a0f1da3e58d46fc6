"""Access tokens as rows."""

from collections.abc import Collection
from dataclasses import asdict
from typing import Any

from sqlalchemy import ColumnElement, RowMapping, Select, and_, delete, func, insert, not_, or_, select, update
from sqlalchemy.ext.asyncio import AsyncConnection
from typing_extensions import override

from control_service.domain.access_token import AccessToken
from control_service.domain.narrowing import Narrowing
from control_service.storage import access_schema, schema
from control_service.usecases.access_ports import AccessTokens
from control_service.usecases.batches import in_batches
from tallygate._access.role import Role
from tallygate._access.scope import parse_scope

_tokens = access_schema.access_tokens
_meta = schema.meta


class AccessTokenRows(AccessTokens):
    """Access tokens as rows."""

    def __init__(self, connection: AsyncConnection) -> None:
        self._connection = connection

    @override
    async def find(self, token_id: str) -> AccessToken | None:
        return await self._one(select(_tokens), token_id)

    @override
    async def find_all(self, token_ids: Collection[str]) -> dict[str, AccessToken]:
        found: dict[str, AccessToken] = {}
        for batch in in_batches(token_ids):
            rows = await self._connection.execute(select(_tokens).where(_tokens.c.token_id.in_(batch)))
            found.update((token.token_id, token) for token in map(_token, rows.mappings()))
        return found

    @override
    async def lock(self, token_id: str) -> AccessToken | None:
        return await self._one(select(_tokens).with_for_update(), token_id)

    @override
    async def add(self, token: AccessToken) -> None:
        await self._connection.execute(insert(_tokens).values(_values(token)))

    @override
    async def save(self, token: AccessToken) -> None:
        values = _values(token)
        del values["last_use_day_us"]
        await self._connection.execute(update(_tokens).where(_tokens.c.token_id == token.token_id).values(values))

    @override
    async def count(self, owner: str) -> int:
        query = select(func.count()).where(_is_of(owner), not_(_tokens.c.signed_in))
        return int((await self._connection.execute(query)).scalar_one())

    @override
    async def count_sign_ins(self, owner: str, now_us: int) -> int:
        query = select(func.count()).where(_is_of(owner), _tokens.c.signed_in, _tokens.c.expire_us > now_us)
        return int((await self._connection.execute(query)).scalar_one())

    @override
    async def page(self, owner: str, after: str, limit: int, now_us: int) -> list[AccessToken]:
        is_shown = or_(not_(_tokens.c.signed_in), _tokens.c.expire_us > now_us)
        query = select(_tokens).where(_is_of(owner), is_shown, _tokens.c.token_id > after)
        rows = await self._connection.execute(query.order_by(_tokens.c.token_id).limit(limit))
        return [_token(row) for row in rows.mappings()]

    @override
    async def end_sign_ins(self, owner: str, now_us: int) -> None:
        await self._end(and_(_is_of(owner), _tokens.c.signed_in), now_us)

    @override
    async def end_all(self, owner: str, now_us: int) -> None:
        await self._end(_is_of(owner), now_us)

    @override
    async def enter_pepper(self, fingerprint: bytes) -> bytes:
        known = _meta.c.pepper_fingerprint
        await self._connection.execute(update(_meta).where(known.is_(None)).values(pepper_fingerprint=fingerprint))
        return bytes((await self._connection.execute(select(known))).scalar_one())

    @override
    async def note_use(self, token_ids: Collection[str], day_us: int) -> None:
        is_later = or_(_tokens.c.last_use_day_us.is_(None), _tokens.c.last_use_day_us < day_us)
        for batch in in_batches(sorted(token_ids)):  # one order for all replicas, so that none waits for the other
            noted = update(_tokens).where(_tokens.c.token_id.in_(batch), is_later)
            await self._connection.execute(noted.values(last_use_day_us=day_us))

    @override
    async def purge(self, before_us: int, limit: int) -> int:
        old = select(_tokens.c.token_id).where(_tokens.c.forget_us < before_us)
        chosen = old.order_by(_tokens.c.forget_us).limit(limit)
        return (await self._connection.execute(delete(_tokens).where(_tokens.c.token_id.in_(chosen)))).rowcount

    async def _end(self, which: ColumnElement[bool], now_us: int) -> None:
        await self._connection.execute(update(_tokens).where(which).values(delete_us=now_us, forget_us=now_us))

    async def _one(self, query: Select[Any], token_id: str) -> AccessToken | None:
        rows = await self._connection.execute(query.where(_tokens.c.token_id == token_id))
        row = rows.mappings().one_or_none()
        return None if row is None else _token(row)


def _is_of(owner: str) -> ColumnElement[bool]:
    return and_(_tokens.c.owner == owner, _tokens.c.delete_us.is_(None))


def _values(token: AccessToken) -> dict[str, Any]:
    values = asdict(token)
    del values["narrowing"]
    scope = token.narrowing.scope
    return values | {
        "narrowed_role": token.narrowing.role,
        "narrowed_scope": None if scope is None else scope.name,
        "forget_us": token.delete_us if token.delete_us is not None or not token.signed_in else token.expire_us,
    }


def _token(row: RowMapping) -> AccessToken:
    values = dict(row)
    role, scope, _ = (values.pop(name) for name in ("narrowed_role", "narrowed_scope", "forget_us"))
    return AccessToken(
        **values, narrowing=Narrowing(Role(role) if role else None, parse_scope(scope) if scope else None)
    )
