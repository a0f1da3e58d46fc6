"""Facts that a program can say of itself to whoever examines a fleet."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import TypeAlias


@dataclass(frozen=True, slots=True)
class ProgramFacts:
    """As of `now_us`. `schema_revision` is empty where the database did not answer; `database_problem` says why."""

    version: str
    build: str
    now_us: int
    start_us: int
    database: str
    schema_revision: str
    database_problem: str
    asks_for_proof: bool


ReadFacts: TypeAlias = Callable[[], Awaitable[ProgramFacts]]
"""Reader of the facts of one process."""
