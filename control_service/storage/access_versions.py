"""The configuration versions at which members and tokens changed last, as rows: one for each, whatever changed."""

from collections.abc import Collection
from typing import Final

from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncConnection
from typing_extensions import override

from control_service.storage import access_schema
from control_service.usecases.access_ports import AccessChanges, AccessVersions
from tallygate._server.database.upsert import upsert

_changes = access_schema.access_changes
_MEMBER: Final = "member"
_TOKEN: Final = "token"  # noqa: S105  # a kind of subject


class AccessVersionRows(AccessVersions):
    """Versions of members and tokens as rows."""

    def __init__(self, connection: AsyncConnection) -> None:
        self._connection = connection

    @override
    async def note(self, members: Collection[str], token_ids: Collection[str], version: int) -> None:
        named = [(_MEMBER, member) for member in members] + [(_TOKEN, token_id) for token_id in token_ids]
        rows = [{"kind": kind, "subject": subject, "config_version": version} for kind, subject in sorted(set(named))]
        if rows:
            await self._connection.execute(upsert(self._connection.dialect, _changes), rows)

    @override
    async def since(self, version: int) -> AccessChanges:
        query = select(_changes.c.kind, _changes.c.subject).where(_changes.c.config_version > version)
        found = [(kind, subject) for kind, subject in await self._connection.execute(query)]
        return AccessChanges(
            members=frozenset(subject for kind, subject in found if kind == _MEMBER),
            token_ids=frozenset(subject for kind, subject in found if kind == _TOKEN),
        )
