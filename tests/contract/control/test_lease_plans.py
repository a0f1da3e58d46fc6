"""An exchange costs the same however many leases were ever closed: it finds its leases by indexes of open ones."""

from pathlib import Path

import pytest
from sqlalchemy.ext.asyncio import AsyncEngine

from control_service.domain.limit import LimitPotKey
from control_service.domain.pot import PotKey, PotKind
from control_service.storage.database import MIGRATIONS, SqlDatabase
from tests.harness.control.query_plans import plans, recorded, scans
from tests.harness.migrated import migrated_url

KEY = LimitPotKey("acme", "budget", "key", 1)


@pytest.fixture
def database_url(tmp_path: Path) -> str:
    """SQLite only: it says in one line how it finds what is asked for."""
    return migrated_url(tmp_path / "control.sqlite3", MIGRATIONS)


async def test_open_leases_are_found_by_indexes_of_open_ones(engine: AsyncEngine) -> None:
    """Those of a pot that falls short, of slots that are out, of a node that is gone, and of a former epoch."""
    database = SqlDatabase(engine)
    with recorded(engine) as statements:
        async with database.reading() as tx:
            await tx.leases.with_free_units([PotKey.of_limit(KEY, PotKind.BUDGET_TOKENS)])
            await tx.leases.with_free_units([PotKey.of("acme", "uid", PotKind.TRIAL)])
            await tx.leases.with_free_units([PotKey.of("acme", "", PotKind.MONEY)])
            await tx.leases.open_of_limits([KEY])
            await tx.leases.left_behind("node-a", 2, [("acme", "uid")], [("acme", "budget")])
            await tx.leases.open_below("node-a", 2, 10)
            await tx.leases.held("acme")
    found = [plan.partition(": ")[0] for plan in await plans(engine, statements)]
    assert len(found) == 8
    assert [plan for plan in found if "USING INDEX ix_leases_open" not in plan] == []


async def test_pots_of_budgets_are_found_by_their_keys(engine: AsyncEngine) -> None:
    """Also those that are to be deleted; of budgets, of which there are few, the deleted ones are looked through."""
    database = SqlDatabase(engine)
    with recorded(engine) as statements:
        async with database.writing() as tx:
            await tx.limit_pots.find([KEY])
            await tx.limit_pots.page(KEY, 10)
            await tx.limit_pots.delete_ended(1, 10)
    assert [plan.partition(": ")[0] for plan in await scans(engine, statements)] == ["SCAN budgets"]
