"""The database of a what-if: transactions on dictionaries, done as soon as they are asked for."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Any, cast

from typing_extensions import override

from control_service.domain.alert import Alert, AlertContent
from control_service.usecases.ports import Database, Transaction
from control_service.usecases.pulse_ports import Glance, NodeSigns
from tallygate.whatif.memory.accounts import (
    AccountTable,
    BatchTable,
    BucketTable,
    ModelTable,
    ReservationTable,
    ServiceTable,
)
from tallygate.whatif.memory.fleet import (
    ConfigTable,
    LeaseTable,
    NodeTable,
    in_activation,
)
from tallygate.whatif.memory.limits import BudgetTable, LimitTable, PotTable, RateRuleTable
from tallygate.whatif.memory.tables import Tables


class MemoryDatabase(Database):
    """A control database of its own, empty at first. A transaction that fails ends the what-if: nothing is undone."""

    def __init__(self) -> None:
        self._tables = Tables()
        self._transaction = _Transaction(self._tables)
        self._commit_count = 0
        self._failure: BaseException | None = None

    @override
    @asynccontextmanager
    async def writing(self) -> AsyncIterator[Transaction]:
        if self._failure is not None:
            raise RuntimeError("an earlier transaction of this what-if has failed") from self._failure
        self._transaction.new_version = None
        try:
            # The ports as far as they are called; what else is called has no attribute.
            yield cast("Transaction", self._transaction)
        except BaseException as error:
            self._failure = error
            raise
        self._commit_count += 1

    @override
    def reading(self) -> AbstractAsyncContextManager[Transaction]:
        return self.writing()

    @override
    def stamp(self) -> int:
        return self._commit_count

    @override
    async def glance(self) -> Glance:
        tables = self._tables
        recalls = (lease.recall_requested_us for lease in tables.open_leases.values())
        due = [one.next_due_us for one in tables.services.values()]
        due += [one.next_due_us for one in tables.models.values()]
        return Glance(
            config_version=tables.config_version,
            last_recall_us=max((at_us for at_us in recalls if at_us is not None), default=None),
            first_due_us=min((at_us for at_us in due if at_us is not None), default=None),
            awaits_fleet=any(True for _ in in_activation(tables)),
            first_delivery_us=None,
            nodes=tuple(
                NodeSigns(*(getattr(one, name) for name in NodeSigns._fields)) for one in tables.nodes.values()
            ),
        )


class _Transaction:
    """What is called of a transaction: one after the other, on the same dictionaries."""

    def __init__(self, tables: Tables) -> None:
        self._tables = tables
        self.new_version: int | None = None
        self.accounts = AccountTable(tables)
        self.models = ModelTable(tables)
        self.services = ServiceTable(tables)
        self.reservations = ReservationTable(tables)
        self.buckets = BucketTable(tables)
        self.batches = BatchTable(tables)
        self.nodes = NodeTable(tables)
        self.leases = LeaseTable(tables)
        self.configs = ConfigTable(tables)
        self.limits = LimitTable(tables)
        self.rate_rules = RateRuleTable(tables)
        self.budgets = BudgetTable(tables)
        self.limit_pots = PotTable(tables.budget_pots)
        self.rule_pots = PotTable(tables.rule_pots)
        self.alerts = _Alerts()
        self.ledger = self.events = self.audit = self.webhooks = self.deliveries = _Unread()
        self.responses = self.access_tokens = self.api_keys = _Unread()

    async def lock_globals(self) -> None:
        """Nobody else is there."""

    async def next_config_version(self) -> int:
        if self.new_version is None:
            self._tables.config_version += 1
            self.new_version = self._tables.config_version
        return self.new_version

    async def config_version(self) -> int:
        return self._tables.config_version


class _Unread:
    """What nobody reads in a what-if: it is not kept, and whoever asks hears that there is nothing."""

    async def add(self, *_: Any) -> None:
        """Written by a change: a ledger line, an event, an entry of the audit log."""

    async def count(self, *_: Any) -> None:
        """Refused calls for the audit log."""

    async def put(self, *_: Any) -> None:
        """Deliveries to webhooks."""

    async def of_account(self, *_: Any) -> list[Any]:
        return []

    async def any_in(self, *_: Any) -> bool:
        return False

    async def roll_up(self, *_: Any) -> None:
        """Of old ledger lines there are none."""

    async def delete(self, *_: Any) -> int:
        return 0

    async def purge(self, *_: Any) -> int:
        return 0


class _Alerts(_Unread):
    """Alerts are numbered for who receives them: here nobody."""

    async def add(self, account_id: str, content: AlertContent, now_us: int) -> Alert:  # type: ignore[override]  # see `Alerts`
        return Alert(account_id, 0, content, now_us)
