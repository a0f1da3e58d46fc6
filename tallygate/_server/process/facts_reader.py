"""Reads what a program can say of itself; its database has 2 s to answer."""

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncEngine

from tallygate._server.clock import Clock
from tallygate._server.database.engine import read_only
from tallygate._server.process.build import build_fields
from tallygate._server.process.program_facts import ProgramFacts
from tallygate._server.process.readiness import problem_of


class FactsReader:
    """Of one process, which began when this was made."""

    def __init__(self, engine: AsyncEngine, clock: Clock, *, compiled: bool, asks_for_proof: bool) -> None:
        self._engine = engine
        self._clock = clock
        self._start_us = clock.now_us()
        self._build = build_fields(compiled=compiled)
        self._asks_for_proof = asks_for_proof

    async def __call__(self) -> ProgramFacts:
        """The facts as of now."""
        problem = await problem_of(self._engine)
        return ProgramFacts(
            version=self._build["version"],
            build=self._build["build"],
            start_us=self._start_us,
            database=self._engine.dialect.name,
            schema_revision="" if problem else await self._revision(),
            database_problem=problem or "",
            asks_for_proof=self._asks_for_proof,
            now_us=self._clock.now_us(),
        )

    async def _revision(self) -> str:
        async with read_only(self._engine) as connection:
            return str(await connection.scalar(text("SELECT version_num FROM alembic_version")))
