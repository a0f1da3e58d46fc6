"""Inserts that know ON CONFLICT, in the words of each database."""

from collections.abc import Callable
from functools import cache
from typing import Any, Final, TypeAlias

from sqlalchemy import ColumnElement, Dialect, Executable, Table
from sqlalchemy.dialects import postgresql, sqlite

Insert: TypeAlias = postgresql.Insert | sqlite.Insert

_INSERT: Final[dict[str, Callable[[Table], Insert]]] = {"sqlite": sqlite.insert, "postgresql": postgresql.insert}


def dialect_insert(dialect: Dialect | str, table: Table) -> Insert:
    """An insert in the words of that dialect, or of the one of that name."""
    return _INSERT[dialect if isinstance(dialect, str) else dialect.name](table)


def new_values(statement: Insert) -> dict[str, ColumnElement[Any]]:
    """What an upsert is about to store, by column; without the key, which a row keeps."""
    return {
        column.name: statement.excluded[column.name] for column in statement.table.columns if not column.primary_key
    }


def replace_rows(statement: Insert) -> Insert:
    """Rows whose keys are there already are replaced as a whole."""
    return statement.on_conflict_do_update(index_elements=list(statement.table.primary_key), set_=new_values(statement))


def upsert(dialect: Dialect, table: Table) -> Executable:
    """A statement that stores rows of the table whether their keys are there or not; executed with a list of rows."""
    return _upsert(dialect.name, table)


@cache
def _upsert(dialect: str, table: Table) -> Executable:
    return replace_rows(_INSERT[dialect](table))
