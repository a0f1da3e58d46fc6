"""Leases: slices of pots in the hands of metering nodes, and the statements that nodes make on them.

One lease has counters that only grow: granted is control's, consumed and returned are the node's. Statements are
merged by maximum, so that a repeat, a lost answer or a reordered statement changes nothing.

Of a rate rule's lease all that requests ever held is consumed, and what they did not use is refunded, one more counter.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Final

from control_service.domain.limit import LimitPotKey
from control_service.domain.pot import PotKey, PotKind

UNITS_MAX: Final = 4 * 10**18
"""Maximum number of units consumed and returned on one lease; `may_have_more` keeps granted units in 64 bits by it."""


@dataclass(frozen=True, slots=True)
class Lease:
    """One lease as control keeps it; times are wall-clock microseconds.

    A slice of a payer names the service that it pays for. A slice of a limit's pot names no service: `limit` is it.
    """

    lease_id: str
    node: str
    epoch: int
    account: str
    service_uid: str
    kind: PotKind
    create_us: int
    update_us: int
    granted_units: int = 0
    consumed_units: int = 0
    returned_units: int = 0
    held_units: int = 0
    closed: bool = False
    recall_requested_us: int | None = None
    limit: LimitPotKey | None = None
    refunded_units: int = 0

    @property
    def pot(self) -> PotKey:
        """The pot that the lease is a slice of."""
        if self.limit is not None:
            return PotKey.of_limit(self.limit, self.kind)
        return PotKey.of(self.account, self.service_uid, self.kind)

    @property
    def outstanding_units(self) -> int:
        """Granted or refunded, and neither consumed nor returned."""
        return max(0, self.granted_units + self.refunded_units - self.consumed_units - self.returned_units)

    @property
    def overdrawn_units(self) -> int:
        """Consumed and returned beyond what was granted and refunded."""
        return max(0, self.consumed_units + self.returned_units - self.granted_units - self.refunded_units)

    @property
    def free_units(self) -> int:
        """Outstanding units that no request holds, by the node's last statement."""
        return self.outstanding_units - self.held_units


@dataclass(frozen=True, slots=True)
class Statement:
    """A node's statement on one lease: counters that only grow, and levels. None of them is negative.

    `burn_units` are those that requests take a second; 0 where that is not known.
    """

    lease_id: str
    consumed_units: int = 0
    returned_units: int = 0
    held_units: int = 0
    wanted_units: int = 0
    needed_units: int = 0
    closing: bool = False
    refunded_units: int = 0
    burn_units: int = 0


@dataclass(frozen=True, slots=True)
class StatementEffect:
    """What a statement changes: the lease after it, the units newly consumed, the units that came off lease.

    `refunded_units` are those newly on lease again, not used by requests that had held them. `unreturned_units` came
    off lease as the lease was closed, and not because its node gave them back.
    """

    lease: Lease
    spent_units: int
    released_units: int
    refunded_units: int = 0
    unreturned_units: int = 0

    @property
    def came_back_units(self) -> int:
        """Units that are available to other leases again."""
        return max(0, self.released_units - self.spent_units)


def fits(lease: Lease, statement: Statement) -> bool:
    """Whether the stated counters are within `UNITS_MAX`; where not, nothing of the statement is taken in."""
    consumed = max(lease.consumed_units, statement.consumed_units)
    returned = max(lease.returned_units, statement.returned_units)
    return consumed + returned <= max(UNITS_MAX, lease.granted_units)


def merge_statement(lease: Lease, statement: Statement, now_us: int, *, recall_waits: bool = False) -> StatementEffect:
    """Merges a statement into its lease. Consumption counts even on a closed lease, which stays closed.

    With `recall_waits` the lease was recalled so lately that the statement may have crossed the recall, which then
    stays open while there are free units. Otherwise the statement ends the recall.
    """
    consumed = max(lease.consumed_units, statement.consumed_units)
    refunded = max(lease.refunded_units, min(statement.refunded_units, consumed))
    closed = lease.closed or statement.closing
    after = replace(
        lease,
        consumed_units=consumed,
        returned_units=max(lease.returned_units, statement.returned_units),
        refunded_units=refunded,
        held_units=0,
        closed=closed,
        update_us=now_us,
    )
    unreturned_units = after.outstanding_units if closed else 0
    after = replace(after, returned_units=after.returned_units + unreturned_units)
    after = replace(after, held_units=min(statement.held_units, after.outstanding_units))
    return StatementEffect(
        lease=after if recall_waits and after.free_units else replace(after, recall_requested_us=None),
        spent_units=consumed - lease.consumed_units,
        released_units=lease.outstanding_units - after.outstanding_units,
        refunded_units=refunded - lease.refunded_units,
        unreturned_units=unreturned_units,
    )


def may_overdraw(lease: Lease | None, statement: Statement, epoch: int) -> bool:
    """Whether an epoch states consumption that an earlier one's lease, or one never granted, does not have.

    A lease that asks for units is one of the epoch itself: what it consumed beyond its grant is debt.
    """
    if lease is None:
        return statement.consumed_units > 0 and not statement.wanted_units and not statement.needed_units
    return lease.epoch < epoch and statement.consumed_units > lease.granted_units - lease.returned_units


def stands_beside(left: Lease, lease: Lease, epoch: int) -> bool:
    """Whether a lease that a node left open in an epoch before this one is on the pot and service of another one."""
    mine = (lease.node, lease.service_uid, lease.kind, lease.limit)
    its = (left.node, left.service_uid, left.kind, left.limit)
    return its == mine and left.lease_id != lease.lease_id and left.epoch < epoch and not left.closed


def draw(lease: Lease, left: Lease) -> tuple[Lease, Lease, int]:
    """Pays what a lease consumed beyond its grant from units outstanding on another one, as far as they go.

    Returns:
        The lease, the other one, and the units that moved: granted to the first, returned on the other one.
    """
    units = min(lease.overdrawn_units, left.outstanding_units)
    left = replace(left, returned_units=left.returned_units + units)
    left = replace(left, held_units=min(left.held_units, left.outstanding_units))
    return replace(lease, granted_units=lease.granted_units + units), left, units


def extend(lease: Lease, units: int) -> Lease:
    """The lease with these units more outstanding; a debt on the lease is not paid from them."""
    base = max(lease.granted_units, lease.consumed_units + lease.returned_units - lease.refunded_units)
    return replace(lease, granted_units=base + units) if units else lease


def units_for_need(lease: Lease, statement: Statement, grantable_units: int) -> int:
    """Units for requests that wait now: all that is grantable may go to them."""
    return min(grantable_units, max(0, statement.needed_units - lease.free_units))


def may_have_more(before: Lease, statement: Statement) -> bool:
    """Whether a lease may be granted more: none that is closed or at `UNITS_MAX`; a recalled one only on need."""
    if before.closed or statement.closing or before.granted_units > UNITS_MAX:
        return False
    return before.recall_requested_us is None or statement.needed_units > 0
