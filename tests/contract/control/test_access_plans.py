"""Decisions cost the same however many tokens, bindings and teams there are: each query finds its rows by an index."""

from dataclasses import replace
from pathlib import Path

import pytest
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncEngine

from control_service.domain.member import certificate_member
from control_service.domain.principal import Principal
from control_service.storage.database import MIGRATIONS, SqlDatabase
from control_service.usecases.resolve_credential import Certificate, Credentials
from tallygate._access.role import Role
from tests.harness.control.access import ALICE, SEAL, STAFF, bound, made_token, store
from tests.harness.control.query_plans import recorded, scans
from tests.harness.migrated import migrated_url


@pytest.fixture
def database_url(tmp_path: Path) -> str:
    """SQLite only: it says in one line how it finds what is asked for."""
    return migrated_url(tmp_path / "control.sqlite3", MIGRATIONS)


async def test_decisions_scan_no_table(engine: AsyncEngine) -> None:
    """Neither of a token, nor of a certificate, nor for what changed since a version, nor for an account's owners."""
    database = SqlDatabase(engine)
    made = made_token()
    credentials = Credentials(SEAL, trust_domain="example.org")
    async with database.writing() as tx:
        await store(tx, made.token, bound(STAFF, Role.VIEWER))
        await tx.principals.save(Principal(ALICE, groups=(STAFF,), last_sign_in_us=1))
    with recorded(engine) as statements:
        async with database.writing() as tx:
            await credentials.resolve(tx, made.shown, 2)
            await credentials.resolve(tx, Certificate("spiffe://example.org/x"), 2)
            await tx.access_versions.since(1)
            await tx.bindings.owner_count("acme")
            await tx.bindings.same(bound(ALICE, Role.OWNER).grant)
            await tx.access_tokens.count(ALICE)
            await tx.access_tokens.page(ALICE, "", 10, 1)
            await tx.access_tokens.note_use([made.token.token_id], 1)
            await tx.access_tokens.end_sign_ins(ALICE, 1)
            await tx.access_tokens.purge(1, 10)
            await tx.principals.disabled([ALICE, certificate_member("x:y")])
            await tx.access_tokens.save(replace(made.token, disabled=True))
    assert len(statements) > 10
    assert await scans(engine, statements) == []


async def test_a_scan_is_found(engine: AsyncEngine) -> None:
    """A question that no index answers is one."""
    with recorded(engine) as statements:
        async with engine.connect() as connection:
            await connection.execute(text("SELECT * FROM bindings WHERE creator = 'x'"))
    assert len(await scans(engine, statements)) == 1
