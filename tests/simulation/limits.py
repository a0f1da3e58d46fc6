"""Limits of the two accounts. Budgets: on account, teams, services and keys, in tokens and in money, shared and each.

Only some worlds have them, and what people do with them has luck of its own: so the stories of other worlds stay as
they are. In those worlds a day begins anew in the midst of the trouble, by the wall clock that is right.
"""

import asyncio
import json
from collections import defaultdict
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from control_service.domain.account import Account
from control_service.domain.asker import Asker
from control_service.domain.errors import ControlError
from control_service.domain.limit import BudgetPeriod, BudgetUnit, LimitMember, Place, PlaceKind
from control_service.usecases.idempotent_call import Act
from control_service.usecases.limits.budgets import (
    BudgetUpdate,
    NewBudget,
    Raise,
    create_budget,
    delete_budget,
    update_budget,
)
from control_service.usecases.ports import Transaction
from tallygate._access.rights import ALL_RIGHTS
from tests.simulation.chance import Chance
from tests.simulation.jobs import BOOKED
from tests.simulation.people import ACCOUNTS, SERVICES, TEAMS
from tests.simulation.rate_rules import RateRules

if TYPE_CHECKING:
    from tests.simulation.simulation_harness import World

SEEDS = 3
LUCK = 2_000_003
"""Added to a seed: what people do with limits is drawn for itself."""
ASKER = Asker("", (), ALL_RIGHTS)
PACE_S = (1.0, 6.0)
BUDGETS_MAX = 2
"""Maximum number of budgets of an account, so that seeds stay cheap."""
NIGHT_IN_S = 45
"""In so long after the beginning a day of `ZONE` ends."""
START_US = 1_700_002_800_000_000 - NIGHT_IN_S * 1_000_000
ZONE = "Etc/GMT-1"
MILLION = 1_000_000
AMOUNTS = {BudgetUnit.TOKENS: (200, 3_000, 20_000, 200_000), BudgetUnit.MONEY: (100, 3_000, 20_000, 200_000)}
OUTSTANDING = "max(0, granted_units - consumed_units - returned_units)"


def in_seed(seed: int) -> bool:
    """Whether the accounts of a seed have budgets, unless it is a storm."""
    return seed % SEEDS == 2


@dataclass(slots=True)
class Kept:
    """A budget that people have made: they know its id, and how it is counted."""

    account_id: str
    budget_id: str
    unit: BudgetUnit


class Limits:
    """All budgets, and what people do with them."""

    def __init__(self, world: "World", *, are_set: bool) -> None:
        self.are_set = are_set
        self._world = world
        if are_set:
            world.loop.start_us = START_US
        self._chance = Chance(world.seed + LUCK)
        self.rules = RateRules(world, self._chance, ASKER)
        self._budgets: list[Kept] = []
        self._made = 0
        self._greatest: dict[tuple[str, str, int], int] = {}
        """The most that a pot has ever had, by its limit, member and period."""
        self._deeds: tuple[tuple[str, Callable[[], Awaitable[None]]], ...] = (
            ("budget changed", self._change),
            ("budget changed", self._change),
            ("budget raised", self._raise),
            ("budget made anew", self._replace),
            ("rule changed", self.rules.change),
            ("rule made anew", self.rules.replace),
        )

    async def found(self) -> None:
        """One or two in each account."""
        for account_id in ACCOUNTS if self.are_set else ():
            for _ in range(self._chance.integer(1, BUDGETS_MAX)):
                await self._make(account_id)
        if self.are_set:
            await self.rules.found()

    async def trouble(self) -> None:
        """What people do with budgets all day."""
        world, chance = self._world, self._chance
        while self.are_set:
            await asyncio.sleep(chance.uniform(*PACE_S))
            what, deed = chance.pick(self._deeds)
            if world.restoring or not self._budgets or not (self.rules.are_there or "rule" not in what):
                continue
            try:
                await deed()
            except ControlError as error:
                # What was made after a copy is not there any more.
                world.note(f"{what}: {error.reason}")
                continue
            world.chance.note(what)
            world.note(what)

    async def _make(self, account_id: str) -> None:
        chance = self._chance
        self._made += 1
        unit = chance.pick(list(BudgetUnit))
        place, member = self._place(account_id)
        period = chance.pick((BudgetPeriod.DAY, BudgetPeriod.IN_ALL))
        new = NewBudget(
            budget_id=f"b{self._made}",
            place=place,
            unit=unit,
            amount_units=chance.pick(AMOUNTS[unit]),
            period=period,
            time_zone=ZONE if period is BudgetPeriod.DAY else "UTC",
            member=member,
            soft=chance.once_in(6),
        )

        async def create(tx: Transaction, _: Account, act: Act) -> Any:
            return await create_budget(tx, new, ASKER, act)

        await self._world.people.of_account(account_id, create)
        self._budgets.append(Kept(account_id, new.budget_id, unit))

    def _place(self, account_id: str) -> tuple[Place, LimitMember]:
        """Somewhere in the account."""
        chance = self._chance
        service = chance.pick([service_id for its, service_id in SERVICES if its == account_id])
        keys = self._world.keys.places_of(account_id)
        of_keys = [(key, LimitMember.SHARED) for key in keys]
        if keys:
            of_keys.append((Place(PlaceKind.ACCOUNT, account_id), LimitMember.EACH_KEY))
            of_keys.append((Place(PlaceKind.TEAM, account_id, chance.pick(TEAMS)), LimitMember.EACH_KEY))
        return chance.pick(
            (
                (Place(PlaceKind.ACCOUNT, account_id), LimitMember.SHARED),
                (Place(PlaceKind.ACCOUNT, account_id), LimitMember.EACH_TEAM),
                (Place(PlaceKind.ACCOUNT, account_id), LimitMember.EACH_SERVICE),
                (Place(PlaceKind.TEAM, account_id, chance.pick(TEAMS)), LimitMember.SHARED),
                (Place(PlaceKind.SERVICE, account_id, service), LimitMember.SHARED),
                *of_keys,
            )
        )

    async def _change(self) -> None:
        kept = self._chance.pick(self._budgets)
        await self._update(kept, BudgetUpdate(amount_units=self._chance.pick((0, *AMOUNTS[kept.unit]))))

    async def _raise(self) -> None:
        kept, world = self._chance.pick(self._budgets), self._world
        until_us = world.loop.start_us + round(world.loop.now_s * MILLION) + self._chance.integer(2, 30) * MILLION
        await self._update(kept, BudgetUpdate(temporary_raise=Raise(1_000_000, until_us)))

    async def _update(self, kept: Kept, update: BudgetUpdate) -> None:
        async def change(tx: Transaction, _: Account, act: Act) -> Any:
            return await update_budget(tx, kept.account_id, kept.budget_id, update, asker=ASKER, act=act)

        await self._world.people.of_account(kept.account_id, change)

    async def _replace(self) -> None:
        """A budget is deleted, and another one made."""
        kept = self._chance.pick(self._budgets)

        async def delete(tx: Transaction, _: Account, act: Act) -> Any:
            return await delete_budget(tx, kept.account_id, kept.budget_id, ASKER, act)

        await self._world.people.of_account(kept.account_id, delete)
        self._budgets.remove(kept)
        await self._make(kept.account_id)

    # --- what must be true -----------------------------------------------------------------------------------------

    def check_pots(self) -> None:
        """At every moment: leased is what leases have outstanding, spent is what was consumed on them."""
        world = self._world
        leased: dict[tuple[str, str, int], int] = defaultdict(int)
        spent: dict[tuple[str, str, int], int] = defaultdict(int)
        for row in world.control.rows(
            f"SELECT limit_uid, member_uid, period_start_us, sum({OUTSTANDING}) leased, sum(consumed_units) spent"  # noqa: S608
            " FROM leases WHERE kind LIKE 'BUDGET%' GROUP BY 1, 2, 3"
        ):
            key = (row["limit_uid"], row["member_uid"], row["period_start_us"])
            leased[key], spent[key] = row["leased"], row["spent"]
        for row in world.control.rows("SELECT * FROM limit_pots"):
            key = (row["limit_uid"], row["member_uid"], row["period_start_us"])
            world.check(
                row["leased_units"] == leased[key], f"{key}: leased {row['leased_units']}, leases {leased[key]}"
            )
            world.check(row["spent_units"] == spent[key], f"{key}: spent {row['spent_units']}, on leases {spent[key]}")
            self._greatest[key] = max(self._greatest.get(key, 0), row["capacity_units"])
        self.rules.check_pots()

    def check_books(self) -> None:
        """At rest: each pot has spent what the records say that are charged to it, and no more than it ever had.

        More only by what was overrun, what nothing covered, and what nobody had asked for.
        """
        world = self._world
        self.rules.check_rest()
        booked: dict[tuple[str, str, int], int] = defaultdict(int)
        excess: dict[tuple[str, str, int], int] = defaultdict(int)
        for row in world.metering.rows(
            f"SELECT pots, part, {BOOKED} tokens, cost_nanos, overrun_tokens, unfunded FROM requests"  # noqa: S608
        ):
            for kind, limit_uid, member_uid, start_us in json.loads(row["pots"]):
                if not kind.startswith("budget"):
                    continue
                key, is_money = (limit_uid, member_uid, start_us), kind == "budget_money"
                booked[key] += row["cost_nanos"] if is_money else row["tokens"]
                # What one token of an overrun costs is not on record: all of such a request's cost may be one.
                unpaid = row["overrun_tokens"] + sum(json.loads(row["unfunded"])) if row["part"] else row["tokens"]
                excess[key] += (row["cost_nanos"] if unpaid else 0) if is_money else unpaid
        pots = {
            (row["limit_uid"], row["member_uid"], row["period_start_us"]): row
            for row in world.control.rows(
                "SELECT p.*, b.soft FROM limit_pots p JOIN budgets b ON b.account_id = p.account_id AND uid = limit_uid"
            )
        }
        # Of one that was deleted before anything of it was on lease there is no pot that could be charged.
        deleted = {row["uid"] for row in world.control.rows("SELECT uid FROM budgets WHERE delete_us IS NOT NULL")}
        for key in booked.keys() | pots.keys():
            told = pots[key]["spent_units"] if key in pots else 0
            # A budget that was made after a copy is none that control knows; what it had stands on leases alone.
            is_forgotten = world.people.are_forgotten or world.lost_records or (key not in pots and key[0] in deleted)
            world.check(is_forgotten or told == booked[key], f"{key}: spent {told}, records have {booked[key]}")
            # One that is deleted refuses nothing more, and what ran on counts.
            if key in pots and not pots[key]["soft"] and key[0] not in deleted:
                over = told - self._greatest.get(key, 0) - excess[key]
                world.check(is_forgotten or over <= 0, f"{key}: {over} over all that it ever had")
