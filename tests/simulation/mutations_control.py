"""Bugs planted in the control service."""

from contextlib import AbstractContextManager
from dataclasses import replace
from typing import Any
from unittest.mock import PropertyMock, patch

from control_service.domain import bucket, lease, lease_round, pot
from control_service.storage import batch_rows
from control_service.usecases import idempotent_call
from control_service.usecases.fleet import lease_settlement
from tests.simulation.planting import mutation, mutation_of_calm


@mutation
def consumption_spent_twice() -> AbstractContextManager[Any]:
    """Control adds all consumption that a node states to what is spent, not only the difference."""
    real = lease.merge_statement

    def wrong(before: Any, statement: Any, now_us: int, *, recall_waits: bool) -> Any:
        effect = real(before, statement, now_us, recall_waits=recall_waits)
        return replace(effect, spent_units=statement.consumed_units)

    return patch.object(lease_round, "merge_statement", wrong)


@mutation
def granted_without_checking() -> AbstractContextManager[Any]:
    """Control grants units that are not available."""
    return patch.object(pot.Quantity, "grantable_units", PropertyMock(return_value=1_000_000))


@mutation
def bucket_runs_over() -> AbstractContextManager[Any]:
    """A rate accrues without end while nobody uses it, and takes back more than it may have."""
    return patch.object(bucket.Bucket, "brim_micro", PropertyMock(return_value=1 << 62))


@mutation
def ledger_doubled() -> AbstractContextManager[Any]:
    """The ledger's usage lines are twice what was used."""
    real = batch_rows.BatchRows.add_usage

    async def add_usage(self: Any, accounts: Any, usage: Any, now_us: int) -> Any:
        return await real(self, accounts, [replace(one, amount_nanos=2 * one.amount_nanos) for one in usage], now_us)

    return patch.object(batch_rows.BatchRows, "add_usage", add_usage)


@mutation
def closing_consumption_dropped() -> AbstractContextManager[Any]:
    """Consumption in the statement that closes a lease does not count."""
    real = lease.merge_statement

    def wrong(before: Any, statement: Any, now_us: int, *, recall_waits: bool) -> Any:
        if statement.closing:
            statement = replace(statement, consumed_units=before.consumed_units)
        return real(before, statement, now_us, recall_waits=recall_waits)

    return patch.object(lease_round, "merge_statement", wrong)


@mutation
def idempotency_ignored() -> AbstractContextManager[Any]:
    """A call that is repeated because its answer was lost is done again."""

    async def once(_tx: Any, _scope: str, _call: Any, _now_us: int, change: Any) -> Any:
        return await change()

    return patch.object(idempotent_call, "_once", once)


@mutation_of_calm
def stand_ins_are_paid_by_the_pot() -> AbstractContextManager[Any]:
    """What a lost epoch had consumed on a lease that nobody recorded is spent once more, out of what is available."""
    return patch.object(lease_settlement, "may_overdraw", lambda *_arguments: False)
