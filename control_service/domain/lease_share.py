"""The share rule: how many units a lease may have ahead of need, so that a pot goes round among its nodes.

So leases shrink as a pot runs out, and little of its end is stranded on nodes that do not need it. The rest of the pot
stays above its floor, below which no lease gets anything.
"""

from __future__ import annotations

from typing import Final

from control_service.domain.lease import Lease, Statement
from control_service.domain.pot import Pot

PARTS: Final = 4
"""Divisor of what is grantable: all nodes together get at most one part in so many of it at a time, ahead of need."""
BURN_LEAST_S: Final = 2
"""Seconds of burn that a lease has ahead of need while the pot has as much, however small its share is."""


def units_ahead(lease: Lease, statement: Statement, pot: Pot, node_count: int) -> int:
    """Units for what a node wants ahead of need.

    Args:
        lease: the lease, with all that the pot has for requests that wait.
        statement: what the node says of it.
        pot: the pot that the lease is a slice of.
        node_count: nodes with an open lease on the pot, this one among them.
    """
    nodes, least_units = (1, 0) if lease.kind.refills else (node_count, BURN_LEAST_S * statement.burn_units)
    share_units = pot.grantable_units // (PARTS * nodes)
    units = min(statement.wanted_units - lease.free_units, max(share_units, least_units - lease.free_units))
    return max(0, min(units, pot.grantable_units, pot.spare_units))
