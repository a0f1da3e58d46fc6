"""Metering nodes: their epochs, how long their leases hold, when they count as live and when as lost."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Final, NamedTuple

LIVE_NS: Final = 3_000_000_000
"""Maximum age of the last sign of life of a live node."""

STALE_US: Final = 3_000_000
"""Maximum age of the configuration that a node acknowledged last; leases of a node that lags more are not renewed."""

LEASE_VALIDITY_US: Final = 20_000_000
"""Time for which leases hold on a node, from the moment of its request."""

DRIFT_MARGIN_US: Final = 2_000_000
"""Maximum drift between two clocks during the validity of leases."""

LOST_AFTER_NS: Final = (LEASE_VALIDITY_US + DRIFT_MARGIN_US) * 1_000
"""Time without exchanges after which a node is lost: its leases have lapsed, but for services that go on in an outage.

Other nodes are requested to fence a lost node and to settle its leases. Control itself never ends a lease because time
passed: only the metering database knows what was consumed on it.
"""

RESUME_WINDOW_NS: Final = 30_000_000_000
"""Minimum time for which a node's next epoch leaves the leases of the one before open, as requests may go on elsewhere.
"""

LEASES_KEPT_US_MAX: Final = 24 * 3_600 * 1_000_000
"""Maximum of the time that a node may say for that."""

EPOCH_STEP_MAX: Final = 1_000_000
"""Maximum number of epochs between two that register: a node begins one at each start, so none comes that far."""


class LostNode(NamedTuple):
    """A silent node that has open leases, with its last registered epoch."""

    name: str
    epoch: int


@dataclass(frozen=True, slots=True)
class Node:
    """A node as control knows it. Times are wall-clock microseconds for people to read; no rule depends on them.

    `exchange_number` is the last one taken of this epoch. `heard_count` grows with every sign of life.
    `lease_valid_until_us` is None before the first exchange. All leases of epochs below `settled_below_epoch` are
    closed for good, without statements to come. `commit_no` is the last commit of this epoch that the node reported.
    Epochs up to `recovered_epoch` were reconciled after a database had been restored. `leases_kept_us` is how long from
    its hello on this epoch leaves the leases of those before it open at the least; None: not known, or no longer.
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
    leases_kept_us: int | None = None

    @property
    def closed_below_epoch(self) -> int:
        """The lowest epoch that may have open leases: those below were settled by the node, or by a recovery."""
        return max(self.settled_below_epoch, self.recovered_epoch + 1)


def is_plausible(known_epoch: int, epoch: int) -> bool:
    """Whether a node may have come to this epoch since the known one; 0 is known of a node that never registered."""
    return epoch <= known_epoch + EPOCH_STEP_MAX


def registered(known: Node | None, name: str, epoch: int, now_us: int, leases_kept_us: int | None = None) -> Node:
    """The node after a registration. A new epoch fences the old one and starts with nothing acknowledged.

    The old epoch's leases stay as they are: only a statement closes them. How long they stay is said once, with the
    first hello.
    """
    if known is None:
        return Node(
            name=name,
            epoch=epoch,
            acknowledged_version=0,
            exchange_number=0,
            last_heard_us=now_us,
            epoch_start_us=now_us,
            leases_kept_us=leases_kept_us,
        )
    heard = replace(known, last_heard_us=now_us, heard_count=known.heard_count + 1)
    if known.epoch == epoch:
        return heard
    return replace(
        heard,
        epoch=epoch,
        acknowledged_version=0,
        exchange_number=0,
        commit_no=0,
        epoch_start_us=now_us,
        leases_kept_us=leases_kept_us,
    )


def recovered(known: Node | None, name: str, epoch: int, now_us: int) -> Node:
    """The node after a recovery: all epochs up to this one are fenced and reconciled."""
    node = registered(known, name, epoch, now_us) if known is None or known.epoch < epoch else known
    return replace(node, recovered_epoch=max(epoch, node.recovered_epoch))


def acknowledged_by_all(live: Iterable[Node]) -> int | None:
    """The version that every one of these nodes has acknowledged; None where there is none."""
    return min((node.acknowledged_version for node in live), default=None)
