"""Many accounts and models at once: written straight into the control database, while the control service is away.

Made by statements of SQL from rows that were made through the API: each account is a copy of one, with its ledger and a
service of its own, and each model a copy of one, with its prices.
"""

from collections.abc import Iterator, Mapping
from typing import Final

from sqlalchemy import Connection, MetaData, Table, text

from benchmarks.accounts import ACCOUNT, MODEL
from benchmarks.populate import PATTERN
from tallygate._server.database.engine import create_engine

_ACCOUNT_ID: Final = ACCOUNT.partition("/")[2]
_MODEL_ID: Final = MODEL.partition("/")[2]
_OF_ACCOUNT: Final = f"account_id = '{_ACCOUNT_ID}'"
_OF_MODEL: Final = f"model_id = '{_MODEL_ID}'"
_PADDED: Final = {
    "sqlite": "printf('%s%07d', '{}', numbers.n)",
    "postgresql": "'{}' || lpad(numbers.n::text, 7, '0')",
}
_UID: Final = {"sqlite": "printf('%032x', numbers.n)", "postgresql": "lpad(to_hex(numbers.n), 32, '0')"}
_NUMBERS: Final = {
    "sqlite": "(WITH RECURSIVE numbers(n) AS (SELECT {} UNION ALL SELECT n + 1 FROM numbers WHERE n < {}) "
    "SELECT n FROM numbers) AS numbers",
    "postgresql": "generate_series({}, {}) AS numbers(n)",
}

_ROWS_MAX: Final = 20_000
"""Number of rows of a statement, which may take 10 s on PostgreSQL."""


def account(number: int) -> str:
    """The name of one of the many accounts."""
    return f"accounts/a{number:07d}"


def model_id(number: int) -> str:
    """The id of one of the many models."""
    return f"m{number:07d}"


async def multiply_accounts(url: str, accounts: int, models: int) -> None:
    """So many accounts and models like the pattern's. The fleet has heard of the services."""
    engine = create_engine(url)
    try:
        async with engine.connect() as connection:
            statements = await connection.run_sync(_statements, accounts, models)
        for statement in [*statements, "ANALYZE"]:
            # One transaction each: of a million rows it would take a minute to commit, and longer to take back.
            async with engine.begin() as connection:
                await connection.execute(text(statement))
    finally:
        await engine.dispose()


def _statements(connection: Connection, accounts: int, models: int) -> list[str]:
    kind = connection.dialect.name
    account_id, model, uid = _PADDED[kind].format("a"), _PADDED[kind].format("m"), _UID[kind]
    of_pattern = f"{_OF_ACCOUNT} AND service_id = '{PATTERN}'"
    copies = (
        ("models", _OF_MODEL, models, {"model_id": model, "uid": uid}),
        ("prices", _OF_MODEL, models, {"model_id": model}),
        ("accounts", _OF_ACCOUNT, accounts, {"account_id": account_id, "uid": uid}),
        ("ledger_entries", _OF_ACCOUNT, accounts, {"account_id": account_id}),
        ("services", of_pattern, accounts, {"account_id": account_id, "uid": uid, "fleet_told": "true"}),
    )
    return [statement for copy in copies for statement in _copies(connection, *copy)]


def _copies(connection: Connection, name: str, of_pattern: str, count: int, other: Mapping[str, str]) -> Iterator[str]:
    """So many rows like each of the pattern's. `other`: columns that differ, by the expression of their value."""
    table = Table(name, MetaData(), autoload_with=connection)
    columns = [column.name for column in table.columns]
    values = ", ".join(other.get(column, column) for column in columns)
    for first in range(0, count, _ROWS_MAX):
        numbers = _NUMBERS[connection.dialect.name].format(first, min(count, first + _ROWS_MAX) - 1)
        rows = f"SELECT {values} FROM {name}, {numbers} WHERE {of_pattern}"  # noqa: S608  # our own names
        yield f"INSERT INTO {name} ({', '.join(columns)}) {rows}"
