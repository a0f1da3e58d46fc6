"""The keys of resume tokens. No error here repeats a statement's parameters: engines hide them."""

from sqlalchemy import delete, func, select
from sqlalchemy.ext.asyncio import AsyncEngine

from metering_service.domain.key_ring import ResumeKey
from metering_service.storage.failures import database_answers
from metering_service.storage.schema import resume_keys
from tallygate._server.database.engine import read_only
from tallygate._server.database.upsert import dialect_insert


async def read_keys(engine: AsyncEngine) -> list[ResumeKey]:
    """Read all keys, in order of their numbers."""
    async with database_answers(engine), read_only(engine) as connection:
        rows = await connection.execute(select(resume_keys).order_by(resume_keys.c.number))
        return [ResumeKey(row.number, row.create_us, row.secret) for row in rows]


async def add_key(engine: AsyncEngine, key: ResumeKey) -> None:
    """Enter a key, unless there is one of that number."""
    new = dialect_insert(engine.dialect, resume_keys).values(
        number=key.number, create_us=key.create_us, secret=key.secret
    )
    async with database_answers(engine, "writing"), engine.begin() as connection:
        await connection.execute(new.on_conflict_do_nothing())


async def purge_keys(engine: AsyncEngine, before_us: int) -> int:
    """Delete each key that was followed by two more before that time, and count them."""
    last_old = select(func.max(resume_keys.c.number)).where(resume_keys.c.create_us < before_us).scalar_subquery()
    async with database_answers(engine, "writing"), engine.begin() as connection:
        # The one before the last signs, too, where a node has just started.
        return (await connection.execute(delete(resume_keys).where(resume_keys.c.number < last_old - 1))).rowcount
