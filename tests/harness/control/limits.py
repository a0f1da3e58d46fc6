"""Budgets for tests of what nodes lease of them."""

from dataclasses import replace

from control_service.domain.asker import Asker
from control_service.domain.lease import Statement
from control_service.domain.limit import (
    FOR_EVER,
    Budget,
    BudgetPeriod,
    BudgetUnit,
    LimitMember,
    LimitPotKey,
    Place,
    PlaceKind,
)
from control_service.domain.limit_pot import KIND_OF_UNIT, BudgetPot
from control_service.domain.period import period_at
from control_service.domain.pot import PotKind
from control_service.storage.database import SqlDatabase
from control_service.usecases.fleet.exchange_messages import LeaseAnswer
from control_service.usecases.fleet.lease_statement import LeaseStatement
from control_service.usecases.fleet_ports import LeaseFilter
from tallygate._access.rights import ALL_RIGHTS
from tallygate._server.clock import Clock
from tests.harness.control.fleet_harness import FleetNode

ACCOUNT = Place(PlaceKind.ACCOUNT, "acme")
OPERATOR = Asker("", (), ALL_RIGHTS)


class Budgets:
    """The budgets of a database, and their pots."""

    def __init__(self, database: SqlDatabase, clock: Clock) -> None:
        self.database = database
        self.clock = clock

    async def make(
        self,
        amount: int,
        *,
        uid: str = "budget-uid",
        unit: BudgetUnit = BudgetUnit.TOKENS,
        period: BudgetPeriod = BudgetPeriod.IN_ALL,
        place: Place = ACCOUNT,
        member: LimitMember = LimitMember.SHARED,
        soft: bool = False,
        initial: int = 0,
        thresholds: tuple[int, ...] = (),
    ) -> Budget:
        """A new budget."""
        budget = Budget(
            budget_id=uid,
            uid=uid,
            place=place,
            unit=unit,
            amount_units=amount,
            period=period,
            member=member,
            soft=soft,
            initial_spent_units=initial,
            threshold_percents=thresholds,
            create_us=self.clock.now_us(),
            update_us=self.clock.now_us(),
        )
        async with self.database.writing() as tx:
            await tx.budgets.add(budget)
        return budget

    async def change(self, budget: Budget, **facts: object) -> Budget:
        """Other facts of a budget; with `delete_us` it is gone."""
        changed = replace(budget, **facts)  # type: ignore[arg-type]  # the test knows its facts
        async with self.database.writing() as tx:
            await tx.accounts.lock(budget.place.account_id)
            await tx.budgets.save(changed)
        return changed

    def key(self, budget: Budget, *, member: str = "", ahead_us: int = 0) -> LimitPotKey:
        """The pot of the period that is current then."""
        start_us = FOR_EVER
        if budget.period is not BudgetPeriod.IN_ALL:
            start_us = period_at(budget.period, budget.time_zone, self.clock.now_us() + ahead_us).start_us
        return LimitPotKey(budget.place.account_id, budget.uid, member, start_us)

    async def pot(self, key: LimitPotKey) -> BudgetPot:
        """The pot as it is stored."""
        async with self.database.reading() as tx:
            return (await tx.limit_pots.find([key]))[key]

    async def assert_conserved(self, *keys: LimitPotKey, initial: int = 0) -> None:
        """Leased is what leases have outstanding, spent is what was consumed on them."""
        async with self.database.reading() as tx:
            leases = [one.lease for one in await tx.leases.page(LeaseFilter(show_closed=True), (0, ""), 10_000)]
        for key in keys:
            pot, mine = await self.pot(key), [lease for lease in leases if lease.limit == key]
            assert pot.leased_units == sum(lease.outstanding_units for lease in mine)
            assert pot.spent_units == sum(lease.consumed_units for lease in mine) + initial
            assert pot.capacity_units == pot.available_units + pot.leased_units + pot.spent_units


def lease_id(node: FleetNode, key: LimitPotKey) -> str:
    """The id of the node's lease of a pot."""
    return f"{node.name}-{node.epoch}-{key.limit_uid}-{key.member_uid}-{key.period_start_us}"


def state(
    node: FleetNode, budget: Budget, key: LimitPotKey, kind: PotKind | None = None, **stated: int | bool
) -> LeaseStatement:
    """The node's statement on the lease that it has, or wants, of a budget's pot."""
    return LeaseStatement(
        node=node.name,
        epoch=node.epoch,
        service_name="",
        service_uid="",
        kind=kind or KIND_OF_UNIT[budget.unit],
        statement=Statement(lease_id(node, key), **stated),  # type: ignore[arg-type]  # levels are ints
        limit=key,
    )


async def exchange(node: FleetNode, budget: Budget, key: LimitPotKey, **stated: int | bool) -> LeaseAnswer:
    """An exchange about one lease."""
    (answer,) = await node.exchange(state(node, budget, key, None, **stated))
    return answer
