"""Metering nodes: their epochs, how long their leases hold, when they count as live and when as lost."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Final, NamedTuple

LIVE_NS: Final = 3_000_000_000
"""A node that was heard from within this time is live."""

STALE_US: Final = 3_000_000
"""A node must have acknowledged the configuration that was current so long ago, or its leases are not renewed."""

LEASE_VALIDITY_US: Final = 20_000_000
"""How long leases hold on the node, from the moment at which it asked."""

DRIFT_MARGIN_US: Final = 2_000_000
"""By how much clocks may run apart in that time."""

LOST_AFTER_NS: Final = (LEASE_VALIDITY_US + DRIFT_MARGIN_US) * 1_000
"""A node whose exchanges ceased so long ago can use its leases no more, but for services that go on in an outage: other
nodes are asked to settle them, and fence it first.

Control itself never ends a lease because time passed: only the metering database knows what was consumed on it.
"""


class LostNode(NamedTuple):
    """A node that has leases and is silent, with the last epoch of it that said hello."""

    name: str
    epoch: int


@dataclass(frozen=True, slots=True)
class Node:
    """A node as control knows it. Times are wall-clock microseconds, and for people to read: nothing is judged by them.

    `exchange_number` is the last one taken of this epoch. `heard_count` grows with every sign of life.
    `lease_valid_until_us` is None before the first exchange. All leases of epochs below `settled_below_epoch` are
    closed, and will never be spoken of again. `commit_no` is the last commit of this epoch that it told of. What
    happened in epochs up to `recovered_epoch` was reconciled after a database had been restored.
    """

    name: str
    epoch: int
    acknowledged_version: int
    exchange_number: int
    last_heard_us: int
    epoch_start_us: int
    lease_valid_until_us: int | None = None
    heard_count: int = 1
    settled_below_epoch: int = 0
    commit_no: int = 0
    recovered_epoch: int = 0

    @property
    def closed_below_epoch(self) -> int:
        """All leases of epochs below this one are closed, settled by the node itself or by a recovery."""
        return max(self.settled_below_epoch, self.recovered_epoch + 1)


def greeted(known: Node | None, name: str, epoch: int, now_us: int) -> Node:
    """The node after a hello. A new epoch fences the old one and starts with nothing acknowledged.

    The old epoch's leases stay as they are: only a statement ends them.
    """
    if known is None:
        return Node(
            name=name,
            epoch=epoch,
            acknowledged_version=0,
            exchange_number=0,
            last_heard_us=now_us,
            epoch_start_us=now_us,
        )
    heard = replace(known, last_heard_us=now_us, heard_count=known.heard_count + 1)
    if known.epoch == epoch:
        return heard
    return replace(heard, epoch=epoch, acknowledged_version=0, exchange_number=0, commit_no=0, epoch_start_us=now_us)


def recovered(known: Node | None, name: str, epoch: int, now_us: int) -> Node:
    """The node after a recovery: all up to this epoch is over and reconciled."""
    node = greeted(known, name, epoch, now_us) if known is None or known.epoch < epoch else known
    return replace(node, recovered_epoch=max(epoch, node.recovered_epoch))


def acknowledged_by_all(live: Iterable[Node]) -> int | None:
    """The version that every one of these nodes has acknowledged; None where there is none."""
    return min((node.acknowledged_version for node in live), default=None)
