"""The pots of budgets, loaded with the amounts in force and stored as statements on their leases leave them.

A pot is made by its first lease. One whose budget is gone takes in what was consumed on it, and is leased no more.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, replace

from control_service.domain.lease import Statement
from control_service.domain.limit import Budget, LimitPotKey
from control_service.domain.limit_pot import BudgetPot, new_pot
from control_service.domain.pot import Pot, PotKey, Quantity
from control_service.usecases.ports import Transaction


@dataclass(frozen=True, slots=True)
class LoadedPot:
    """A budget's pot, with the amount in force. `budget` is None where it is gone; `is_new`: it has no lease yet."""

    pot: BudgetPot
    budget: Budget | None
    is_leasable: bool
    is_new: bool = False

    @property
    def quantity(self) -> Quantity:
        """The pot as leases see it."""
        return self.pot.as_quantity(soft=self.budget is not None and self.budget.soft)

    @property
    def grantable_units(self) -> int:
        """Units that may be leased now."""
        return self.quantity.grantable_units if self.is_leasable else 0

    def admits(self, statement: Statement, *, is_known: bool) -> Statement | None:
        """The statement as it counts here; None where it is refused.

        A new lease of a pot that is leased no more is granted nothing; what was consumed on it counts all the same. A
        known lease outlives its pot only once that was deleted for its age: it brings no pot back.
        """
        if self.is_new and is_known:
            return None
        if is_known or self.is_leasable:
            return statement
        if self.is_new and not statement.consumed_units:
            return None
        return replace(statement, closing=True)


@dataclass(frozen=True, slots=True)
class Crossed:
    """A budget's pot that stands at a further threshold than before."""

    pot: BudgetPot
    budget: Budget


async def load_pots(tx: Transaction, keys: Collection[PotKey], now_us: int) -> dict[PotKey, LoadedPot]:
    """Those of these pots of budgets that there are, or that may be made. Whoever leases has locked their accounts."""
    wanted = [(key, key.limit) for key in keys if key.limit is not None and key.kind.is_budget]
    if not wanted:
        return {}
    stored = await tx.limit_pots.find(dict.fromkeys(limit for _, limit in wanted))
    budgets = await _budgets(tx, [limit for _, limit in wanted])
    loaded = {}
    for key, limit in wanted:
        one = _loaded(key, stored.get(limit), budgets.get((limit.account_id, limit.limit_uid)), now_us)
        if one is not None:
            loaded[key] = one
    return loaded


async def list_pots(tx: Transaction, after: LimitPotKey, limit: int, now_us: int) -> list[BudgetPot]:
    """The pots of the account's budgets whose key is greater than `after`, by key, with the amounts in force."""
    pots = await tx.limit_pots.page(after, limit)
    budgets = await _budgets(tx, [pot.key for pot in pots])
    of_pots = ((pot, budgets.get((pot.key.account_id, pot.key.limit_uid))) for pot in pots)
    return [pot if budget is None else pot.at(budget, now_us) for pot, budget in of_pots]


async def _budgets(tx: Transaction, keys: Collection[LimitPotKey]) -> dict[tuple[str, str], Budget]:
    """The budgets of these pots, by account and uid; those that are gone are left out."""
    found = await tx.budgets.with_uids(dict.fromkeys((key.account_id, key.limit_uid) for key in keys))
    return {(one.place.account_id, one.uid): one for one in found}


def _loaded(key: PotKey, stored: BudgetPot | None, budget: Budget | None, now_us: int) -> LoadedPot | None:
    if stored is not None and stored.kind is not key.kind:
        return None
    if budget is None:
        return None if stored is None else LoadedPot(stored, None, is_leasable=False)
    if stored is not None:
        return LoadedPot(stored.at(budget, now_us), budget, stored.is_leasable(now_us))
    assert key.limit is not None
    made = new_pot(budget, key.limit, key.kind, now_us)
    return None if made is None else LoadedPot(made, budget, made.is_leasable(now_us), is_new=True)


async def store_pots(tx: Transaction, loaded: Mapping[PotKey, LoadedPot], after: Mapping[PotKey, Pot]) -> list[Crossed]:
    """Stores these pots as they are after statements; returns those of which a further threshold is spent now."""
    crossed, pots = [], []
    for key, before in loaded.items():
        quantity = after[key]
        assert isinstance(quantity, Quantity)
        pot = before.pot.after(quantity)
        if before.budget is not None:
            pot = pot.told(before.budget)
            if pot.told_percent > before.pot.told_percent:
                crossed.append(Crossed(pot, before.budget))
        pots.append(pot)
    await tx.limit_pots.put(pots)
    return crossed
