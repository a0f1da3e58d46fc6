"""Teams that a migration makes of the texts that services had for teams."""

import shutil
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncEngine

import control_service
from control_service.storage.database import MIGRATIONS
from control_service.storage.migrations.versions.v0007_teams import ids_of
from tallygate._server.database.engine import migrate
from tests.harness.postgres import fresh_database

SERVICE = """
    INSERT INTO services (
        account_id, service_id, uid, model_id, kind, display_name, team, labels, postpaid, suspended, fleet_told,
        config_version, told_status, told_stop_reasons, told_billing_modes, reservation_count, event_count, create_us,
        update_us
    ) VALUES (
        :account_id, :service_id, :account_id || :service_id, 'llama', :kind, '', :team, '{}', 'NEVER_ENABLED', FALSE,
        FALSE, 1, 'NOT_ENABLED', '', 'NONE', 0, 0, 1, 1
    )
"""


@pytest.fixture(params=["sqlite", "postgresql"])
async def database_url(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[str]:
    """URL of a database without anything, whatever other tests here are given."""
    if request.param == "sqlite":
        yield f"sqlite:///{tmp_path / 'control.sqlite3'}"
        return
    async with fresh_database(request.getfixturevalue("postgres_url")) as url:
        yield url


def revisions_before(number: str, directory: Path) -> str:
    """The location of copies of the revisions before this one."""
    versions = Path(control_service.__file__).parent / "storage/migrations/versions"
    (directory / "old/versions").mkdir(parents=True)
    for path in sorted(versions.glob("v*.py")):
        if path.name < f"v{number}":
            shutil.copy(path, directory / "old/versions")
    return str(directory / "old")


async def test_each_text_of_an_account_becomes_a_team(engine: AsyncEngine, tmp_path: Path) -> None:
    """Services get the ids; what was an id stays; a default service is in none; other accounts have their own."""
    await migrate(engine, revisions_before("0007", tmp_path), "control service")
    texts = {
        ("acme", "a"): "Ads & Search",
        ("acme", "b"): "ads-search",
        ("acme", "c"): "ADS search!",
        ("acme", "d"): "",
        ("acme", "e"): "大",
        ("acme", "f"): "Ads & Search",
        ("acme", "default-llama"): "Only here",
        ("bolt", "a"): "Ads & Search",
    }
    async with engine.begin() as connection:
        for (account_id, service_id), team in texts.items():
            kind = "DEFAULT" if service_id.startswith("default-") else "CUSTOM"
            row = {"account_id": account_id, "service_id": service_id, "kind": kind, "team": team}
            await connection.execute(text(SERVICE), row)
    await migrate(engine, MIGRATIONS, "control service")
    async with engine.connect() as connection:
        rows = await connection.execute(text("SELECT account_id, team_id, display_name FROM teams WHERE create_us > 1"))
        teams = {(account_id, team_id): name for account_id, team_id, name in rows}
        rows = await connection.execute(text("SELECT account_id, service_id, team FROM services"))
        services = {(account_id, service_id): team for account_id, service_id, team in rows}
    assert teams == {
        ("acme", "ads-search"): "ads-search",
        ("acme", "ads-search-2"): "ADS search!",
        ("acme", "ads-search-3"): "Ads & Search",
        ("acme", "team"): "大",
        ("acme", "only-here"): "Only here",
        ("bolt", "ads-search"): "Ads & Search",
    }
    for key, team in texts.items():
        expected = "" if key[1].startswith("default-") else team
        assert teams.get((key[0], services[key]), "") == expected
    assert services["acme", "default-llama"] == ""


def test_ids_are_as_long_as_names_may_be() -> None:
    """Also those that a number makes different."""
    long = "x" * 100
    ids = ids_of([long, f"{long}y", "-", "--", "a" * 62 + " b"])
    assert list(ids.values()) == ["x" * 63, "x" * 61 + "-2", "team", "team-2", "a" * 62]
