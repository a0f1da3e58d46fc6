"""The control database can be sharded by account: keys have it, and so has every statement of an exchange."""

import pytest
from sqlalchemy.ext.asyncio import AsyncEngine

from control_service.domain.pot import PotKind
from control_service.storage.columns import metadata
from tests.harness.control.fleet_harness import Kit
from tests.harness.control.limits import Budgets
from tests.harness.control.limits import exchange as exchange_budget
from tests.harness.control.query_plans import recorded
from tests.harness.shards import across_shards, columns_of, without_column

COLUMNS = columns_of("control")


def test_every_table_is_named_and_has_the_column_in_its_keys() -> None:
    """Citus refuses others."""
    assert COLUMNS.keys() == metadata.tables.keys()
    assert without_column(metadata, COLUMNS) == []
    assert without_column(metadata, {"accounts": "uid", "ledger_entries": "account_id"}) == ["accounts: pk_accounts"]


def test_a_statement_across_shards_is_found() -> None:
    """By whatever else it looks for rows."""
    leases: dict[str, str | None] = {"leases": "account_id"}
    for whole in ("SELECT 1 FROM leases WHERE leases.node = $1", "DELETE FROM leases WHERE lease_id IN (1)"):
        assert across_shards(whole, leases)
    for one in (
        "UPDATE leases SET x = 1 WHERE (leases.account_id, leases.lease_id) IN (($1, $2))",
        "INSERT INTO leases (account_id, lease_id) VALUES ($1, $2)",
        "SELECT 1 FROM leases, unnest($1) AS given WHERE leases.account_id = given.account_id",
    ):
        assert across_shards(one, leases) == []


@pytest.mark.parametrize("kind", [PotKind.MONEY, PotKind.TRIAL, PotKind.RESERVATION_OUTPUT])
async def test_an_exchange_has_its_accounts_in_every_statement(engine: AsyncEngine, kit: Kit, kind: PotKind) -> None:
    """What is leased, consumed, recalled for a need, drawn from what an epoch before left, and given back."""
    service = await kit.service(
        postpaid=kind is PotKind.MONEY,
        trial_tokens=1_000 if kind is PotKind.TRIAL else None,
        output_tpm=1_000 if kind is PotKind.RESERVATION_OUTPUT else 0,
    )
    other, old = await kit.node("node-b"), await kit.node(epoch=1)
    await old.exchange_one(service, kind, needed_units=100)
    node = await kit.node(epoch=2)
    with recorded(engine) as statements:
        await other.exchange_one(service, kind, needed_units=800)
        await node.exchange_one(service, kind, needed_units=2_000)
        await node.exchange_one(service, kind, consumed_units=60)
        await node.exchange_one(service, kind, consumed_units=4_000, closing=True)
    found = {table for statement, _ in statements for table in across_shards(statement, COLUMNS)}
    assert len(statements) > 20
    assert {text for text in found if not is_of_an_earlier_epoch(text)} == set()


async def test_an_exchange_on_a_budget_has_its_account_in_every_statement(engine: AsyncEngine, kit: Kit) -> None:
    """Its pot is leased, consumed and crosses a threshold."""
    budgets, node = Budgets(kit.database, kit.clock), await kit.node()
    budget = await budgets.make(100)
    key = budgets.key(budget)
    with recorded(engine) as statements:
        await exchange_budget(node, budget, key, needed_units=100)
        await exchange_budget(node, budget, key, consumed_units=100, closing=True)
    assert [one for statement, _ in statements for one in across_shards(statement, COLUMNS)] == []


def is_of_an_earlier_epoch(statement: str) -> bool:
    """Whether it looks for what a node's earlier epochs left open, which is once in the life of a node."""
    return statement.startswith("leases: SELECT") and "leases.epoch <" in statement and "LIMIT" in statement
