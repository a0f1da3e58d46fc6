"""Insert or replace whole rows, in the words of each database."""

from functools import cache
from typing import Any

from sqlalchemy import Executable, Table
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.ext.asyncio import AsyncConnection


def dialect_insert(dialect: str, table: Table) -> Any:
    """An insert that knows ON CONFLICT, in the words of that database."""
    return (sqlite if dialect == "sqlite" else postgresql).insert(table)


def upsert(connection: AsyncConnection, table: Table) -> Executable:
    """A statement that stores rows of the table whether their keys are there or not; executed with a list of rows."""
    return _upsert(connection.dialect.name, table)


@cache
def _upsert(dialect: str, table: Table) -> Executable:
    insert = dialect_insert(dialect, table)
    new = {column.name: insert.excluded[column.name] for column in table.columns if not column.primary_key}
    statement: Executable = insert.on_conflict_do_update(index_elements=list(table.primary_key), set_=new)
    return statement
