"""Metering nodes: their epochs, whether they are live, how long their leases hold."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace

LIVE_US = 3_000_000
"""A node that was heard from within this time is live."""

STALE_US = 3_000_000
"""A node must have acknowledged the configuration that was current so long ago, or its leases are not renewed."""

LEASE_VALIDITY_US = 20_000_000
"""How long leases hold on the node, from the moment at which it asked."""

DRIFT_MARGIN_US = 2_000_000
"""By how much clocks may run apart in that time."""

RESUME_WINDOW_US = 30_000_000
"""How long open requests of a lost node wait for their streams before they are settled."""

RECLAIM_AFTER_US = DRIFT_MARGIN_US + RESUME_WINDOW_US
"""So long after its leases stopped to hold, a node that is still silent has them taken back."""


@dataclass(frozen=True, slots=True)
class Node:
    """A node as control knows it; times are wall-clock microseconds.

    `exchange_number` is the last one taken of this epoch. `lease_valid_until_us` is None before the first exchange.
    """

    name: str
    epoch: int
    acknowledged_version: int
    exchange_number: int
    last_heard_us: int
    epoch_start_us: int
    lease_valid_until_us: int | None = None

    def is_live(self, now_us: int) -> bool:
        """Whether it was heard from of late."""
        return self.last_heard_us > now_us - LIVE_US


def greeted(known: Node | None, name: str, epoch: int, now_us: int) -> Node:
    """The node after a hello. A new epoch fences the old one and starts with nothing acknowledged.

    The old epoch's leases hold for as long as they did: only a statement or a reclaim ends them.
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
    if known.epoch == epoch:
        return replace(known, last_heard_us=now_us)
    return replace(
        known, epoch=epoch, acknowledged_version=0, exchange_number=0, last_heard_us=now_us, epoch_start_us=now_us
    )


def acknowledged_by_all(nodes: Iterable[Node], now_us: int) -> int | None:
    """The version that every live node has acknowledged; None where no node is live."""
    return min((node.acknowledged_version for node in nodes if node.is_live(now_us)), default=None)
