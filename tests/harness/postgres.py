"""Databases on a PostgreSQL server, one for each test that wants one."""

import uuid
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager

import asyncpg
from sqlalchemy import Table, make_url


@asynccontextmanager
async def fresh_database(server_url: str) -> AsyncIterator[str]:
    """Create an empty database, give its URL, and drop it with whoever is still connected."""
    name = f"test_{uuid.uuid4().hex}"
    await _execute(server_url, f'CREATE DATABASE "{name}"')
    try:
        yield make_url(server_url).set(database=name).render_as_string(hide_password=False)
    finally:
        await _execute(server_url, f'DROP DATABASE "{name}" WITH (FORCE)')


async def empty(url: str, tables: Sequence[Table], *more: str) -> None:
    """Delete all rows of tables, of which each stands after those that it refers to; then execute more statements.

    TRUNCATE would make new files for each table, which takes twenty times as long where there are few rows.
    """
    deletions = [str(table.delete()) for table in reversed(tables)]
    await _execute(url, ";".join([*deletions, *more]))


async def _execute(url: str, statement: str) -> None:
    connection = await asyncpg.connect(url)
    try:
        await connection.execute(statement)
    finally:
        await connection.close()
