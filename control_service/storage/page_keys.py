"""Keys of page tokens as rows. No error here repeats a statement's parameters: engines hide them."""

from dataclasses import asdict

from sqlalchemy import delete, select
from sqlalchemy.ext.asyncio import AsyncConnection
from typing_extensions import override

from control_service.storage import schema
from control_service.usecases.ports import PageKeyStore
from tallygate._server.database.upsert import dialect_insert
from tallygate._server.page_keys import PageKey

_keys = schema.page_keys


class PageKeyRows(PageKeyStore):
    """Keys of page tokens as rows."""

    def __init__(self, connection: AsyncConnection) -> None:
        self._connection = connection

    @override
    async def all(self) -> list[PageKey]:
        rows = await self._connection.execute(select(_keys).order_by(_keys.c.number))
        return [PageKey(**row) for row in rows.mappings()]

    @override
    async def add(self, key: PageKey) -> None:
        new = dialect_insert(self._connection.dialect, _keys).values(asdict(key))
        await self._connection.execute(new.on_conflict_do_nothing())

    @override
    async def delete_below(self, number: int) -> None:
        await self._connection.execute(delete(_keys).where(_keys.c.number < number))
