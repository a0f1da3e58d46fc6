"""Keeps what a server says of its readiness true: looks twice a second at what it depends on."""

import asyncio
from collections.abc import Callable, Mapping
from typing import Final, TypeAlias

import structlog
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.ext.asyncio import AsyncEngine

from tallygate._server.database.driver_errors import DRIVER_ERRORS
from tallygate._server.database.engine import quick_reads
from tallygate._server.database.migration import explain

LOOK_INTERVAL_S: Final = 0.5
ANSWER_MAX_S: Final = 2.0
"""A database that has not answered after so long does not answer."""

Judge: TypeAlias = Callable[[bool], Mapping[str, bool]]
"""From whether the database answers to whether each name of health checking is ready."""

_log = structlog.get_logger(__name__)


class Readiness:
    """Of one server. `set_ready` is told what `judge` says, and the log of each change."""

    def __init__(self, engine: AsyncEngine, judge: Judge, set_ready: Callable[[Mapping[str, bool]], None]) -> None:
        self._engine = engine
        self._judge = judge
        self._set_ready = set_ready
        self._unready: list[str] | None = None

    async def run(self) -> None:
        """Looks until cancelled."""
        while True:
            await self.look()
            await asyncio.sleep(LOOK_INTERVAL_S)

    async def look(self) -> None:
        """Looks once."""
        problem = await problem_of(self._engine)
        ready = self._judge(problem is None)
        self._set_ready(ready)
        unready = sorted(name for name, is_ready in ready.items() if not is_ready)
        if unready != (self._unready or []):
            _log.warning("readiness_changed", not_serving=unready, database_problem=problem)
        self._unready = unready


async def problem_of(engine: AsyncEngine) -> str | None:
    """Why the database does not answer in time, in one sentence; None if it does."""
    try:
        async with asyncio.timeout(ANSWER_MAX_S):
            await quick_reads(engine).answer()
    except TimeoutError:
        return f"The database has not answered for {ANSWER_MAX_S:g} s."
    except DRIVER_ERRORS as error:
        return explain(engine.url, error)
    except SQLAlchemyError as error:
        return str(error)
    return None
