"""Durability of a PostgreSQL, as it is set up: what is called durable here must survive a power cut."""

from typing import Final

import structlog
from sqlalchemy import text
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.ext.asyncio import AsyncEngine

from tallygate._server.database.driver_errors import DRIVER_ERRORS
from tallygate._server.database.engine import read_only
from tallygate._server.database.migration import explain
from tallygate._server.errors import DatabaseError

_SETTINGS: Final = {
    "fsync": "a power cut may destroy the whole database",
    "full_page_writes": "a power cut in the middle of a write may destroy tables",
    "synchronous_commit": "a crash of PostgreSQL loses commits that were answered",
}
_SWITCHED_OFF: Final = text(
    "SELECT name FROM pg_settings WHERE setting = 'off' AND name IN ('fsync', 'full_page_writes', 'synchronous_commit')"
    " ORDER BY name"
)

_log = structlog.get_logger(__name__)


async def warn_of_losses(engine: AsyncEngine) -> None:
    """A line in the log for each setting that lets commits be lost. SQLite is set up by this program itself.

    Raises DatabaseError where the database does not answer.
    """
    if engine.dialect.name != "postgresql":
        return
    try:
        async with read_only(engine) as connection:
            names = list((await connection.execute(_SWITCHED_OFF)).scalars())
    except (SQLAlchemyError, *DRIVER_ERRORS) as error:
        raise DatabaseError(explain(engine.url, error)) from error
    for name in names:
        _log.warning("not_durable", setting=name, problem=_SETTINGS[name], hint=f"set {name} = on in PostgreSQL")
