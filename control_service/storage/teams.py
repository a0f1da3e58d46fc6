"""Teams as rows."""

from dataclasses import asdict

from sqlalchemy import ColumnElement, and_, func, insert, select, update
from sqlalchemy.exc import IntegrityError
from sqlalchemy.ext.asyncio import AsyncConnection
from typing_extensions import override

from control_service.domain.errors import ResourceExistsError
from control_service.domain.team import Team
from control_service.storage import schema
from control_service.usecases.ports import TeamFilter, Teams

_teams = schema.teams


class TeamRows(Teams):
    """Teams as rows."""

    def __init__(self, connection: AsyncConnection) -> None:
        self._connection = connection

    @override
    async def find(self, account_id: str, team_id: str) -> Team | None:
        found = await self._connection.execute(select(_teams).where(_key(account_id, team_id)))
        row = found.mappings().one_or_none()
        return None if row is None else Team(**row)

    @override
    async def add(self, team: Team) -> None:
        try:
            await self._connection.execute(insert(_teams).values(asdict(team)))
        except IntegrityError as error:
            raise ResourceExistsError(team.name) from error

    @override
    async def save(self, team: Team) -> None:
        key = _key(team.account_id, team.team_id)
        await self._connection.execute(update(_teams).where(key).values(asdict(team)))

    @override
    async def count(self, account_id: str) -> int:
        living = _teams.c.account_id == account_id, _teams.c.delete_us.is_(None)
        return int(
            (await self._connection.execute(select(func.count()).select_from(_teams).where(*living))).scalar_one()
        )

    @override
    async def page(self, wanted: TeamFilter, after: str, limit: int) -> list[Team]:
        query = select(_teams).where(_teams.c.account_id == wanted.account_id, _teams.c.team_id > after)
        if wanted.team_ids is not None:
            query = query.where(_teams.c.team_id.in_(wanted.team_ids))
        if not wanted.show_deleted:
            query = query.where(_teams.c.delete_us.is_(None))
        rows = await self._connection.execute(query.order_by(_teams.c.team_id).limit(limit))
        return [Team(**row) for row in rows.mappings()]


def _key(account_id: str, team_id: str) -> ColumnElement[bool]:
    return and_(_teams.c.account_id == account_id, _teams.c.team_id == team_id)
