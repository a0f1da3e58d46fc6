"""Bringing a database to the revision that a program was written for.

Programs of two versions share a database while a fleet is upgraded, and after it, should the upgrade be taken back. So
the database says which programs work on it: a revision may name in `oldest_program` the oldest revision whose programs
go on working, and then a program of that one, or of any in between, starts on a schema that is newer than its own.
"""

import ssl
import zlib
from contextlib import nullcontext
from typing import Any, Final

import structlog
from alembic.config import Config
from alembic.runtime.environment import EnvironmentContext
from alembic.runtime.migration import MigrationInfo
from alembic.script import ScriptDirectory
from sqlalchemy import URL, Connection, inspect, text
from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.asyncio import AsyncEngine

from tallygate._server.database.driver_errors import DRIVER_ERRORS, is_unavailable
from tallygate._server.database.postgres_engine import PostgresEngine
from tallygate._server.database.postgres_url import places_of
from tallygate._server.errors import DatabaseError

_log = structlog.get_logger(__name__)

FLOOR_TABLE: Final = "schema_floor"
"""Table with one row: the oldest revision whose programs work on this schema."""

# Any number will do, as long as every program that migrates by this module takes the same.
_ADVISORY_LOCK: Final = zlib.crc32(b"tallygate schema migration")


async def migrate(engine: AsyncEngine, script_location: str, program: str) -> None:
    """Upgrade the database to the newest revision under `script_location`, all in one transaction.

    Programs that start together take turns: by an advisory lock on PostgreSQL, by the write lock on SQLite.

    Args:
        engine: the database.
        script_location: the directory that has `versions/`, as `package:path`; it needs no env.py.
        program: what to call this program in errors.

    Raises:
        DatabaseError: unreachable, read-only, corrupt, or of a revision that this program does not know.
    """
    # An index over a table that has grown takes its time, and so does the turn of another program.
    unhurried = engine.unhurried() if isinstance(engine, PostgresEngine) else nullcontext()
    try:
        async with unhurried, engine.begin() as connection:
            await connection.run_sync(_upgrade, script_location, program)
    except DRIVER_ERRORS as error:
        raise DatabaseError(explain(engine.url, error)) from error


def _upgrade(connection: Connection, script_location: str, program: str) -> None:
    if connection.dialect.name == "postgresql":
        connection.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": _ADVISORY_LOCK})
    config = Config()
    config.set_main_option("script_location", script_location)
    script = ScriptDirectory.from_config(config)
    known = {revision.revision for revision in script.walk_revisions()}
    steps: list[Any] = []
    done: list[str | None] = []

    def plan(revision: str, _context: object) -> list[Any]:
        steps.extend(script._upgrade_revs("head", revision))  # noqa: SLF001  # as alembic's own upgrade
        return steps

    def note(ctx: object, step: MigrationInfo, heads: object, run_args: object) -> None:  # noqa: ARG001  # by name
        done.append(step.up_revision_id)
        _log.info("database_upgrading", revision=step.up_revision_id)

    with EnvironmentContext(
        config,
        script,
        fn=plan,
        destination_rev="head",
    ) as environment:
        environment.configure(connection=connection, transactional_ddl=True, on_version_apply=note)
        for revision in environment.get_context().get_current_heads():
            if revision not in known:
                if _floor(connection) not in known:
                    raise DatabaseError(_unknown_revision(connection.engine.url, revision, program))
                _log.warning("schema_is_newer", revision=revision, own_revision=script.get_current_head())
                return
        try:
            environment.run_migrations()
        except DBAPIError as error:
            if is_unavailable(error) or len(done) == len(steps):
                raise
            failed = steps[len(done)].revision.revision
            raise DatabaseError(_failed_revision(connection.engine.url, failed, error)) from error
    head = script.get_revision("head")
    _keep_floor(connection, getattr(head.module, "oldest_program", head.revision))


def _floor(connection: Connection) -> str | None:
    """What the database says of programs that are older than it; None where it says nothing."""
    if not inspect(connection).has_table(FLOOR_TABLE):
        return None
    found: str | None = connection.execute(text(f"SELECT revision FROM {FLOOR_TABLE}")).scalar_one_or_none()  # noqa: S608
    return found


def _keep_floor(connection: Connection, revision: str) -> None:
    if _floor(connection) == revision:
        return
    connection.execute(text(f"CREATE TABLE IF NOT EXISTS {FLOOR_TABLE} (revision VARCHAR(32) NOT NULL)"))
    connection.execute(text(f"DELETE FROM {FLOOR_TABLE}"))  # noqa: S608  # from a constant
    connection.execute(text(f"INSERT INTO {FLOOR_TABLE} VALUES (:revision)"), {"revision": revision})  # noqa: S608


def _unknown_revision(url: URL, revision: str, program: str) -> str:
    return (
        f"{_name(url)} is at revision {revision}, which this {program} does not know: it was written by a newer "
        f"version of {program}, beside which this one does not work; upgrade the program, or name another database."
    )


def _failed_revision(url: URL, revision: str, error: DBAPIError) -> str:
    problem = _first_line(error.orig)
    return (
        f"{_name(url)} could not be brought to revision {revision} and is as it was before ({problem}); mend that, or "
        "put a backup in its place, then start this program again."
    )


def explain(url: URL, error: Exception) -> str:
    """One sentence: which database, what is wrong with it, what to do."""
    cause = error.orig if isinstance(error, DBAPIError) else error
    return (
        f"{_name(url)} {_explain_sqlite(cause) if url.get_backend_name() == 'sqlite' else _explain_postgresql(cause)}"
    )


def _explain_sqlite(cause: BaseException | None) -> str:
    name = getattr(cause, "sqlite_errorname", "")
    if name.startswith(("SQLITE_NOTADB", "SQLITE_CORRUPT")):
        return "is damaged or no SQLite database; restore it from a backup, or name another file."
    if name.startswith("SQLITE_READONLY"):
        return "cannot be written; let this user write to the file and its directory."
    if name.startswith("SQLITE_CANTOPEN"):
        return "cannot be opened; check that its directory exists and that this user may read and write there."
    if name.startswith("SQLITE_BUSY"):
        return "has been locked by another program for too long; stop that program, or try again."
    if name.startswith("SQLITE_FULL"):
        return "has no room left on its disk; make room, and it goes on by itself."
    return f"cannot be used ({cause})."


def _explain_postgresql(cause: BaseException | None) -> str:
    text_of, state = _first_line(cause), getattr(cause, "sqlstate", None)
    if isinstance(cause, ssl.SSLCertVerificationError):
        said = f"has a certificate that is not trusted ({cause.verify_message}); name its authority with sslrootcert."
    elif "rejected SSL upgrade" in text_of:
        said = "has no TLS, which sslmode of the database URL asks for; turn it on there, or leave sslmode out."
    elif isinstance(cause, OSError) or "connection is closed" in text_of:
        said = "does not answer; start PostgreSQL, or correct the database URL."
    elif state == "25006":
        said = "is read-only; name the primary server in the database URL."
    elif state == "53100":
        said = "has no room left on its disk; make room, and it goes on by itself."
    elif "transaction blocks not allowed" in text_of:
        said = "is behind a pooler in statement mode, which has no transactions; set its pool_mode to transaction."
    else:
        said = f"cannot be used ({text_of})."
    return said


def _first_line(error: object) -> str:
    return str(error).partition("\n")[0]


def _name(url: URL) -> str:
    if url.get_backend_name() == "sqlite":
        return f'The database "{url.database}"'
    places = [f"{host}:{port or 5432}" for host, port in places_of(url)]
    return f'The database "{url.database}" at {", ".join(places) or "localhost:5432"}'
