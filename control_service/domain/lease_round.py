"""One round: all that a node states of its leases, worked through in order against the pots behind them. Pure.

First everything is settled, then needs are served in order of arrival, then what nodes would like to have ahead of
need, in turn by node: so what one statement returns serves another, no prefetch takes what a request is waiting for,
and no node takes all of a pot ahead of the others.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import zip_longest

from control_service.domain.lease import (
    Lease,
    Statement,
    StatementEffect,
    draw,
    extend,
    fits,
    may_have_more,
    merge_statement,
    units_for_need,
)
from control_service.domain.lease_share import units_ahead
from control_service.domain.pot import USED_UNITS_MAX, Pot, PotKey
from control_service.domain.rate_pot import RatePot


@dataclass(slots=True)
class StatementWork:
    """A statement in work: the lease before and after it.

    `pays`: whether the pot pays for the lease's service now; where not, nothing is granted. `fits`: whether the
    statement is within bounds; where not, nothing of it was taken in. `recall_waits` is that of `merge_statement`.
    `node_count` are the nodes with an open lease on the pot. `left` are the works of leases that pay what this lease
    consumed beyond its grant.
    """

    statement: Statement
    before: Lease
    pays: bool
    recall_waits: bool = False
    node_count: int = 1
    lease: Lease = field(init=False)
    spent_units: int = field(init=False, default=0)
    fits: bool = field(init=False, default=True)
    left: Sequence[StatementWork] = field(init=False, default=())

    def __post_init__(self) -> None:
        self.lease = self.before

    @property
    def falls_short(self) -> bool:
        """Whether requests still wait for units that the lease, which is open, does not have."""
        return not self.lease.closed and self.lease.free_units < self.statement.needed_units

    @property
    def is_changed(self) -> bool:
        """Whether the lease is another one than before, but for the time of its last statement."""
        before, after = self.before, self.lease
        return not self.has_counted_only or (
            (before.granted_units, before.consumed_units, before.returned_units)
            != (after.granted_units, after.consumed_units, after.returned_units)
            or (before.held_units, before.refunded_units) != (after.held_units, after.refunded_units)
        )

    @property
    def has_counted_only(self) -> bool:
        """Whether nothing but the lease's counters and levels may have changed."""
        before, after = self.before, self.lease
        return (before.closed, before.recall_requested_us) == (after.closed, after.recall_requested_us)


class LeaseRound:
    """The pots while a round of statements is worked through."""

    def __init__(self, pots: Mapping[PotKey, Pot], now_us: int) -> None:
        self.pots = dict(pots)
        self.came_back: set[PotKey] = set()
        self.now_us = now_us

    def run(self, works: Iterable[StatementWork]) -> None:
        """Works through the statements; then each work has its lease, and `pots` are as the round leaves them."""
        fitting = [work for work in works if self._merge(work)]
        served = [work for work in fitting if work.pays and may_have_more(work.before, work.statement)]
        for work in served:
            pot = self.pots[work.lease.pot]
            self._lend(work, units_for_need(work.lease, work.statement, pot.grantable_units))
        for work in in_turn(served):
            self._lend(work, units_ahead(work.lease, work.statement, self.pots[work.lease.pot], work.node_count))

    def _merge(self, work: StatementWork) -> bool:
        """Merges a statement, unless the statement or the pot after it is out of bounds; returns whether it fits."""
        effect = merge_statement(work.lease, work.statement, self.now_us, recall_waits=work.recall_waits)
        key = work.before.pot
        pot = self.pots[key]
        in_use_units = pot.leased_units - effect.released_units + pot.spent_units + effect.spent_units
        work.fits = fits(work.before, work.statement) and (effect.spent_units == 0 or in_use_units <= USED_UNITS_MAX)
        if not work.fits:
            return False
        work.lease, work.spent_units = effect.lease, effect.spent_units
        released_units = effect.released_units + sum(_draw(work, left) for left in work.left)
        self.pots[key] = _settled(pot, work.before, effect, released_units)
        if effect.came_back_units:
            self.came_back.add(key)
        return True

    def _lend(self, work: StatementWork, units: int) -> None:
        if units:
            key = work.lease.pot
            work.lease = extend(work.lease, units)
            self.pots[key] = self.pots[key].lent(units)


def in_turn(works: Sequence[StatementWork]) -> Iterator[StatementWork]:
    """The first work of each node, then the second of each, and so on; nodes in the order in which they come first."""
    by_node: dict[str, list[StatementWork]] = {}
    for work in works:
        by_node.setdefault(work.lease.node, []).append(work)
    for turn in zip_longest(*by_node.values()):
        yield from (work for work in turn if work is not None)


def _settled(pot: Pot, before: Lease, effect: StatementEffect, released_units: int) -> Pot:
    """The pot after a statement. Of a rate what its node did not give back itself is forfeited: nobody may have it."""
    if not isinstance(pot, RatePot):
        return pot.settled(spent_units=effect.spent_units, released_units=released_units)
    if before.closed:
        # What a late statement speaks of was forfeited already.
        return pot
    pot = pot.settled(
        spent_units=effect.spent_units,
        released_units=released_units - effect.unreturned_units,
        refunded_units=effect.refunded_units,
    )
    return pot.forfeited(effect.unreturned_units)


def _draw(work: StatementWork, left: StatementWork) -> int:
    """Pays what the lease in work consumed beyond its grant from one that was left; returns the units that moved."""
    work.lease, left.lease, units = draw(work.lease, left.lease)
    return units
