"""The intake of rate rules and budgets from the control service."""

from metering_service.domain.limit import LimitSet
from metering_service.usecases.lookups.parked import retry
from metering_service.usecases.node import Node


def take_limits(node: Node, limits: LimitSet) -> None:
    """Apply the limits of an account, or of a model: what waits is decided on by them, and pots are asked again.

    An amount that was raised has something again, whatever was confirmed before.
    """
    if not node.limits.take(limits):
        return
    uids = {limit.uid for limit in limits.limits}
    for pot in node.lease_index.pots.values():
        if pot.key.limit_uid in uids:
            for lease in pot.leases.values():
                lease.demand.replenished()
    for service in list(node.waiting.values()):
        if limits.name.startswith("models/") or service.name.startswith(f"{limits.name}/"):
            retry(node, service)
