"""Tables of other systems: in a PostgreSQL or SQLite database, which is only read, or in a folder with exports."""

from __future__ import annotations

import asyncio
import csv
import json
import sqlite3
import sys
from collections.abc import Mapping, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any, Final
from urllib.parse import SplitResult, parse_qsl, urlencode, urlsplit, urlunsplit

from tallygate._unreadable import why_unreadable
from tallygate.importing.values import Row

Tables = Mapping[str, Sequence[Row]]
"""Rows by the name of their table; of a table that is not there, none."""

_POSTGRESQL: Final = ("postgresql://", "postgres://")
_PRISMAS: Final = {"connection_limit", "pool_timeout", "pgbouncer", "socket_timeout", "schema", "sslaccept"}
"""Parameters of Prisma's URLs, which are none of PostgreSQL's."""
_SQLITE: Final = b"SQLite format 3\0"


class UnreadableTablesError(Exception):
    """Nothing can be read there; the message is a sentence without secrets."""


def read_tables(source: str, needed: str, others: Sequence[str]) -> Tables:
    """Reads tables.

    Args:
        source: A URL of PostgreSQL's, a file of SQLite's, or a folder with NAME.csv, NAME.json or NAME.jsonl.
        needed: The table without which there is nothing to do.
        others: Tables that may be there.

    Raises:
        UnreadableTablesError: There is no such source, or the table that is needed is not in it.
    """
    names = (needed, *others)
    if source.startswith(_POSTGRESQL):
        tables = _read_postgresql(source, names)
    elif Path(source).is_dir():
        tables = {name: rows for name in names if (rows := _read_export(Path(source), name)) is not None}
    else:
        tables = _read_sqlite(Path(source), names)
    if needed not in tables:
        where = "the database" if source.startswith(_POSTGRESQL) else source
        raise UnreadableTablesError(f"There is no table {needed} in {where}.")
    return tables


def _read_postgresql(url: str, names: Sequence[str]) -> dict[str, list[Row]]:
    try:
        import asyncpg  # noqa: PLC0415  # comes with an extra
        from asyncpg.exceptions import InterfaceError, PostgresError  # noqa: PLC0415  # as well
    except ModuleNotFoundError:
        raise UnreadableTablesError(
            "PostgreSQL needs asyncpg, which comes with: pip install 'tallygate[cli]'"
        ) from None
    parts, address = _parts(url)
    parameters = dict(parse_qsl(parts.query))
    kept = {name: value for name, value in parameters.items() if name not in _PRISMAS}
    plain = urlunsplit(parts._replace(query=urlencode(kept)))

    async def read() -> dict[str, list[Row]]:
        connection = await asyncpg.connect(plain, timeout=10)
        try:
            async with connection.transaction(isolation="repeatable_read", readonly=True):
                schema = parameters.get("schema") or "public"
                sql = "SELECT table_name FROM information_schema.tables WHERE table_schema = $1"
                there = {record[0] for record in await connection.fetch(sql, schema)}
                quoted = schema.replace('"', '""')
                return {
                    name: [dict(row) for row in await connection.fetch(f'SELECT * FROM "{quoted}"."{name}"')]  # noqa: S608  # of names of ours
                    for name in names
                    if name in there
                }
        finally:
            await connection.close()

    try:
        return asyncio.run(read())
    except (OSError, TimeoutError, ValueError, PostgresError, InterfaceError) as error:
        said = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise UnreadableTablesError(f"The database at {address} cannot be read: {said}.") from error


def _parts(url: str) -> tuple[SplitResult, str]:
    """A URL in its parts, and the address in it, as which no part of a password may pass.

    Raises:
        UnreadableTablesError: It has signs in its password that stand for something else in a URL.
    """
    try:
        parts = urlsplit(url)
        address = f"{parts.hostname}:{parts.port or 5432}"
    except ValueError:
        raise _torn() from None
    if parts.fragment or "@" in parts.path or ("@" in parts.query and not parts.path):
        raise _torn()
    return parts, address


def _torn() -> UnreadableTablesError:
    return UnreadableTablesError(
        "The URL of the database cannot be read: give its password by PGPASSWORD, or write signs such as / ? # [ in it "
        "as %2F %3F %23 %5B."
    )


def _read_sqlite(path: Path, names: Sequence[str]) -> dict[str, list[Row]]:
    try:
        with path.open("rb") as file:
            is_database = file.read(len(_SQLITE)) == _SQLITE
        if not is_database:
            raise UnreadableTablesError(f"{path} is neither a file of SQLite's nor a folder with exports.")
        with closing(sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro", uri=True)) as connection:
            connection.row_factory = sqlite3.Row
            there = {row[0] for row in connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'")}
            return {
                name: [dict(row) for row in connection.execute(f'SELECT * FROM "{name}"')]  # noqa: S608  # of names of ours
                for name in names
                if name in there
            }
    except (OSError, sqlite3.Error) as error:
        raise UnreadableTablesError(f"{path} cannot be read: {why_unreadable(error)}.") from error


def _read_export(folder: Path, name: str) -> list[Row] | None:
    """The rows in the export of a table; None where there is none."""
    for suffix, read in ((".csv", _read_csv), (".json", _read_json), (".jsonl", _read_json)):
        path = folder / f"{name}{suffix}"
        if path.exists():
            try:
                return read(path)
            except (OSError, ValueError, csv.Error) as error:
                raise UnreadableTablesError(f"{path} cannot be read: {why_unreadable(error)}.") from error
    return None


def _read_csv(path: Path) -> list[Row]:
    csv.field_size_limit(sys.maxsize)
    with path.open(newline="", encoding="utf-8-sig") as file:
        return list(csv.DictReader(file, strict=True))


def _read_json(path: Path) -> list[Row]:
    """A list of objects, or an object a line. Numbers with fractions stay as they are written."""
    content = path.read_text(encoding="utf-8-sig")
    if content.lstrip().startswith("["):
        found: Any = json.loads(content, parse_float=str)
    else:
        found = [json.loads(line, parse_float=str) for line in content.splitlines() if line.strip()]
    if not all(isinstance(row, Mapping) for row in found):
        raise ValueError("it is no list of objects")
    return list(found)
