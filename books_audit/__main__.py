"""The audit as a program, `python -m books_audit`: a line of JSON for each thing that was looked at."""

import argparse
import asyncio
import json
import os
import sys
from pathlib import Path
from typing import Final

from sqlalchemy import Table, make_url, select
from sqlalchemy.exc import DBAPIError, SQLAlchemyError
from sqlalchemy.ext.asyncio import AsyncEngine

from books_audit.audit import Audit
from control_service.domain.errors import ResourceNotFoundError
from control_service.storage.schema import accounts
from metering_service.storage.schema import nodes
from tallygate._server.clock import SystemClock
from tallygate._server.database.driver_errors import DRIVER_ERRORS
from tallygate._server.database.engine import create_engine, read_only
from tallygate._server.database.migration import explain
from tallygate._server.database.url import normalise_url
from tallygate._server.errors import ConfigurationError, DatabaseError
from tallygate._server.process.logs import configure_logging
from tallygate._server.process.run import ends_program

VARIABLES: Final = ("TALLYGATE_CONTROL_DATABASE_URL", "TALLYGATE_METERING_DATABASE_URL")
"""Names of the variables that the services read, too: on the command line everybody would see a password."""


def main() -> None:
    """Write what was found to stdout; a database that cannot be read ends the program with a sentence."""
    parser = argparse.ArgumentParser(prog="python -m books_audit", description=__doc__)
    parser.add_argument("--account", default="", help="of this account only")
    account_id = parser.parse_args().account
    configure_logging("json")
    with ends_program():
        control_url, metering_url = map(_url, VARIABLES)
        asyncio.run(_run(control_url, metering_url, account_id))


def _url(variable: str) -> str:
    url = normalise_url(os.environ.get(variable, ""))
    parsed = make_url(url)
    if parsed.get_backend_name() == "sqlite" and not Path(parsed.database or "").exists():
        raise ConfigurationError(f'There is no database "{parsed.database}"; name the one that the service writes.')
    return url


async def _run(control_url: str, metering_url: str, account_id: str) -> None:
    control, metering = create_engine(control_url), create_engine(metering_url)
    try:
        for engine, table in ((control, accounts), (metering, nodes)):
            await _require_readable(engine, table)
        async for step in Audit(control, metering, SystemClock(), account_id).run():
            line = {"subject": step.subject, "findings": [each.as_figures() for each in step.findings]}
            sys.stdout.write(json.dumps(line) + "\n")
            sys.stdout.flush()
    except ResourceNotFoundError as error:
        sentence = f"The control database has no account {account_id}; see `tallygate account list`."
        raise ConfigurationError(sentence) from error
    except (SQLAlchemyError, *DRIVER_ERRORS) as error:
        raise DatabaseError(f"The audit broke off, start it again: {_first_line(error)}") from error
    finally:
        await control.dispose()
        await metering.dispose()


async def _require_readable(engine: AsyncEngine, table: Table) -> None:
    """Make sure that the database answers and has what its service writes. Raises DatabaseError."""
    try:
        async with read_only(engine) as connection:
            await connection.execute(select(table).limit(1))
    except DRIVER_ERRORS as error:
        raise DatabaseError(explain(engine.url, error)) from error


def _first_line(error: Exception) -> str:
    """What the driver says, without statements and links."""
    cause = error.orig if isinstance(error, DBAPIError) else error
    return str(cause).partition("\n")[0]


if __name__ == "__main__":
    main()
