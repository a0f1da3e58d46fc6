"""What deploy/citus.sql shards by, and whether statements keep to it."""

import re
from pathlib import Path
from typing import Final

from sqlalchemy import MetaData, UniqueConstraint

SCRIPT: Final = Path(__file__).parents[2] / "deploy" / "citus.sql"
_CALL: Final = re.compile(r"SELECT create_(?:reference|distributed)_table\('(\w+)'(?:, '(\w+)')?")


def columns_of(database: str) -> dict[str, str | None]:
    """The column that each table of a database is distributed by; None for tables that every node has a copy of."""
    (half,) = (half for half in SCRIPT.read_text().split("\n-- ")[1:] if half.startswith(f"{database}:"))
    columns = {call[1]: call[2] for call in _CALL.finditer(half)}
    assert len(columns) == half.count("create_")
    return columns


def without_column(metadata: MetaData, columns: dict[str, str | None]) -> list[str]:
    """Keys, unique constraints and unique indexes in which what the table is distributed by is missing."""
    found = []
    for name, column in columns.items():
        table = metadata.tables[name]
        unique = {str(table.primary_key.name): table.primary_key.columns.keys()}
        unique |= {str(one.name): one.columns.keys() for one in table.constraints if isinstance(one, UniqueConstraint)}
        unique |= {str(one.name): one.columns.keys() for one in table.indexes if one.unique}
        found += [f"{name}: {key}" for key, keys in unique.items() if column is not None and column not in keys]
    return found


def _others(columns: dict[str, str | None]) -> str:
    """Columns of tables that are distributed by something else: to be equal to one of these is of no use."""
    return "|".join(rf"{name}\.(?!{column}\b)" for name, column in columns.items() if column is not None)


def across_shards(statement: str, columns: dict[str, str | None]) -> list[str]:
    """Tables of which a statement finds no rows by what they are distributed by.

    That is: by an equality, as one of some values or rows, or as one of the columns that are written.
    """
    words = " ".join(statement.split())
    found = []
    for table, column in columns.items():
        if column is None or not re.search(rf"\b(?:FROM|JOIN|INTO|UPDATE|,) {table}\b", words):
            continue
        of_table = rf"(?:\b{table}\.)?\b{column}"
        equal = rf"{of_table} (?:=(?! (?:{_others(columns)}))|IN\b)"
        among = rf"\([^()]*{of_table}\b[^()]*\) IN\b"
        written = rf"INSERT INTO {table} \([^)]*\b{column}\b"
        if not re.search(f"{equal}|{among}|{written}", words):
            found.append(f"{table}: {words}")
    return found
