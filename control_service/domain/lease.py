"""Leases: slices of budgets in the hands of metering nodes, and what nodes say of them.

One lease has three counters that only grow: granted is control's, consumed and returned are the node's. What a node
says is merged by maximum, so that a repeat, a lost answer or a reordered statement changes nothing.
"""

from __future__ import annotations

import enum
from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Final

from control_service.domain.budget import BudgetKey, BudgetKind

LARGEST_UNITS: Final = 4 * 10**18
"""No more is consumed and returned on one lease; what was granted stays within 64 bits by that, see `may_have_more`."""


class Availability(enum.StrEnum):
    """How things stand with a budget for the one who asked."""

    AVAILABLE = "AVAILABLE"
    RECALLING = "RECALLING"
    EMPTY = "EMPTY"


@dataclass(frozen=True, slots=True)
class Lease:
    """One lease as control keeps it; times are wall-clock microseconds."""

    lease_id: str
    node: str
    epoch: int
    account: str
    service_uid: str
    kind: BudgetKind
    create_us: int
    update_us: int
    granted_units: int = 0
    consumed_units: int = 0
    returned_units: int = 0
    held_units: int = 0
    closed: bool = False
    recall_requested_us: int | None = None

    @property
    def budget(self) -> BudgetKey:
        """The budget that it is a slice of."""
        return BudgetKey.of(self.account, self.service_uid, self.kind)

    @property
    def outstanding_units(self) -> int:
        """Granted, and neither consumed nor returned."""
        return max(0, self.granted_units - self.consumed_units - self.returned_units)

    @property
    def free_units(self) -> int:
        """Outstanding and, as the node last said, not held by any request."""
        return self.outstanding_units - self.held_units


@dataclass(frozen=True, slots=True)
class Statement:
    """What a node says of one lease: counters that only grow, and levels. None is negative."""

    lease_id: str
    consumed_units: int = 0
    returned_units: int = 0
    held_units: int = 0
    wanted_units: int = 0
    needed_units: int = 0
    closing: bool = False


@dataclass(frozen=True, slots=True)
class Settlement:
    """What a statement changed: the lease after it, what was newly consumed, what came off lease."""

    lease: Lease
    spent_units: int
    released_units: int

    @property
    def came_back_units(self) -> int:
        """What others may have again."""
        return max(0, self.released_units - self.spent_units)


def fits(lease: Lease, statement: Statement) -> bool:
    """Whether the counters stated are such as a lease can come to; where not, nothing of the statement is taken in."""
    consumed = max(lease.consumed_units, statement.consumed_units)
    returned = max(lease.returned_units, statement.returned_units)
    return consumed + returned <= max(LARGEST_UNITS, lease.granted_units)


def settle(lease: Lease, statement: Statement, now_us: int, *, recall_waits: bool = False) -> Settlement:
    """Takes in what a node says. Consumption counts even on a closed lease, which stays closed.

    `recall_waits`: the lease was recalled only just now, so that the node may not have heard of it when it said this.
    Otherwise a recall is over with this: nothing is left to return, or the node spoke late and kept it.
    """
    consumed = max(lease.consumed_units, statement.consumed_units)
    returned = max(lease.returned_units, statement.returned_units)
    closed = lease.closed or statement.closing
    if closed:
        returned = max(returned, lease.granted_units - consumed)
    after = replace(
        lease, consumed_units=consumed, returned_units=returned, held_units=0, closed=closed, update_us=now_us
    )
    after = replace(after, held_units=min(statement.held_units, after.outstanding_units))
    return Settlement(
        lease=after if recall_waits and after.free_units else replace(after, recall_requested_us=None),
        spent_units=consumed - lease.consumed_units,
        released_units=lease.outstanding_units - after.outstanding_units,
    )


def extend(lease: Lease, units: int) -> Lease:
    """The lease with so much more outstanding; a debt on it is not paid from what is granted now."""
    base = max(lease.granted_units, lease.consumed_units + lease.returned_units)
    return replace(lease, granted_units=base + units) if units else lease


def units_for_need(lease: Lease, statement: Statement, grantable_units: int) -> int:
    """What requests wait for right now: all of what is left may go to it."""
    return min(grantable_units, max(0, statement.needed_units - lease.free_units))


def units_for_prefetch(lease: Lease, statement: Statement, grantable_units: int, spare_units: int) -> int:
    """What the node would like to have ahead of need: never more than a quarter of what is left.

    So lease sizes shrink as a budget runs out, and little of its end is stranded on nodes that do not need it. Nor is
    it so much that the rest would be below the floor, where nobody could have it, however many requests wait for it.
    """
    return max(0, min(statement.wanted_units - lease.free_units, grantable_units // 4, spare_units))


def may_have_more(before: Lease, statement: Statement) -> bool:
    """A closed lease gets nothing, nor one that had its fill; a recalled one only what requests are waiting for."""
    if before.closed or statement.closing or before.granted_units > LARGEST_UNITS:
        return False
    return before.recall_requested_us is None or statement.needed_units > 0


@dataclass(frozen=True, slots=True)
class Standing:
    """How things stand after a grant, and which leases are to be recalled for it now."""

    availability: Availability
    recalled_lease_ids: tuple[str, ...] = ()


def stand(lease: Lease, needed_units: int, recallable: Iterable[Lease]) -> Standing:
    """Judges a lease that may fall short of its need against open leases on the same budget that may be recalled."""
    if lease.free_units >= needed_units:
        return Standing(Availability.AVAILABLE)
    recallable = [other for other in recallable if other.lease_id != lease.lease_id]
    if not recallable:
        return Standing(Availability.EMPTY)
    fresh = tuple(other.lease_id for other in recallable if other.recall_requested_us is None)
    return Standing(Availability.RECALLING, fresh)
