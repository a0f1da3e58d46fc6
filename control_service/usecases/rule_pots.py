"""The pots of rate rules, loaded under the rules as they are now and stored as statements on their leases leave them.

A pot is made by its first lease. One whose rule is gone takes in what is stated on it, and is leased no more.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Mapping
from dataclasses import dataclass, replace
from typing import Final, Protocol

from control_service.domain.lease import Statement
from control_service.domain.limit import LimitPotKey, RateRule
from control_service.domain.pot import Pot, PotKey
from control_service.domain.rate_pot import RatePot
from control_service.domain.rule_pot import RulePot, kind_of, new_pot
from control_service.usecases.ports import Transaction


class Refills(Protocol):
    """What knows how long ago a stored moment was."""

    def refilled(self, key: PotKey, bucket: RatePot, now_us: int) -> RatePot:
        """The pot with what has accrued until now."""


class _WallClock:
    """The wall clock as what knows."""

    def refilled(self, key: PotKey, bucket: RatePot, now_us: int) -> RatePot:
        del key
        return bucket.refilled(now_us)


WALL_CLOCK: Final[Refills] = _WallClock()
"""Refills by the wall clock alone: where nothing is granted, so that a clock which jumped does no harm."""


@dataclass(frozen=True, slots=True)
class LoadedRule:
    """A rule's pot, with what has accrued until now. `is_leasable`: whether the rule is still there."""

    pot: RulePot
    is_leasable: bool

    @property
    def quantity(self) -> Pot:
        """The pot as leases see it."""
        return self.pot.units

    @property
    def grantable_units(self) -> int:
        """Units that may be leased now."""
        return self.quantity.grantable_units if self.is_leasable else 0

    def admits(self, statement: Statement, *, is_known: bool) -> Statement | None:
        """The statement as it counts here; None where it is refused: a new lease under a rule that is gone."""
        return statement if is_known or self.is_leasable else None


async def load_rule_pots(
    tx: Transaction, keys: Collection[PotKey], now_us: int, refills: Refills
) -> dict[PotKey, LoadedRule]:
    """Those of these pots of rules that there are, or that may be made; their accounts are locked by whoever leases."""
    wanted = [(key, key.limit) for key in keys if key.limit is not None and key.kind.is_rule]
    if not wanted:
        return {}
    stored = await tx.rule_pots.find(dict.fromkeys(limit for _, limit in wanted))
    rules = await _rules(tx, [limit for _, limit in wanted])
    loaded = {}
    for key, limit in wanted:
        one = _loaded(key, stored.get(limit), rules.get((limit.account_id, limit.limit_uid)), now_us, refills)
        if one is not None:
            loaded[key] = one
    return loaded


async def store_rule_pots(tx: Transaction, loaded: Mapping[PotKey, LoadedRule], after: Mapping[PotKey, Pot]) -> None:
    """Stores these pots as they are after statements."""
    await tx.rule_pots.put([before.pot.after(after[key]) for key, before in loaded.items()])


async def list_rule_pots(tx: Transaction, after: LimitPotKey, limit: int, now_us: int) -> list[RulePot]:
    """The pots of the account's rules whose key is greater than `after`, by key, as of now by the wall clock."""
    pots = await tx.rule_pots.page(after, limit)
    rules = await _rules(tx, [pot.key for pot in pots])
    of_pots = ((pot, rules.get((pot.key.account_id, pot.key.limit_uid))) for pot in pots)
    loaded = (_loaded(pot.pot_key, pot, rule, now_us, WALL_CLOCK) for pot, rule in of_pots)
    return [one.pot for one in loaded if one is not None]


async def _rules(tx: Transaction, keys: Collection[LimitPotKey]) -> dict[tuple[str, str], RateRule]:
    """The rules of these pots, by account and uid; those that are gone are left out."""
    uids: dict[str, set[str]] = defaultdict(set)
    for key in keys:
        uids[key.account_id].add(key.limit_uid)
    rules: dict[tuple[str, str], RateRule] = {}
    for account_id, of_account in sorted(uids.items()):
        found = await tx.limits.find(account_id, sorted(of_account))
        rules |= {(account_id, uid): one for uid, one in found.items() if isinstance(one, RateRule)}
    return rules


def _loaded(
    key: PotKey, stored: RulePot | None, rule: RateRule | None, now_us: int, refills: Refills
) -> LoadedRule | None:
    if stored is not None and stored.kind is not key.kind:
        return None
    if rule is not None and kind_of(rule) is not key.kind:
        return None
    if stored is None:
        assert key.limit is not None
        made = new_pot(rule, key.limit, now_us) if rule is not None else None
        return None if made is None else LoadedRule(made, is_leasable=True)
    pot = stored
    if isinstance(pot.units, RatePot):
        # As long as the old rule was in force it accrued by that.
        pot = replace(pot, units=refills.refilled(key, pot.units, now_us))
    return LoadedRule(pot.at(rule) if rule is not None else pot, is_leasable=rule is not None)
