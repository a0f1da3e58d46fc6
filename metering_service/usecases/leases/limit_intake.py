"""The intake of rate rules and budgets from the control service."""

from metering_service.domain.limit import LimitSet
from metering_service.usecases.lookups.parked import retry
from metering_service.usecases.node import Node
from metering_service.usecases.state.pot_state import PotState


def take_limits(node: Node, limits: LimitSet) -> None:
    """Apply the limits of an account, or of a model: what waits is decided on by them, and pots are asked again.

    An amount that was raised has something again, whatever was confirmed before. Of one that was lowered nothing may be
    spent any more that was fetched ahead.
    """
    pots = list(node.lease_index.pots.values())
    before = {pot.key: node.limits.limit_of(pot.key) for pot in pots}
    if not node.limits.take(limits):
        return
    if not limits.name.startswith("models/"):
        node.accounts.told(limits.name, node.clock.monotonic_ns())
    uids = {limit.uid for limit in limits.limits}
    for pot in pots:
        if pot.is_over(node.limits.limit_of(pot.key)):
            node.lease_index.forget_pot(pot)
            continue
        if pot.key.limit_uid in uids:
            for lease in pot.leases.values():
                lease.demand.replenished()
            limit = node.limits.limit_of(pot.key)
            if limit is not None and limit.is_stricter_than(before[pot.key]):
                _cut(node, pot)
    for service in list(node.waiting.values()):
        if limits.name.startswith("models/") or service.name.startswith(f"{limits.name}/"):
            retry(node, service)


def forget_limits(node: Node) -> None:
    """Forget the limits of accounts of which nothing is followed any more, once their leases are given back.

    Control tells of them no longer since the last service or key was unfollowed.
    """
    since_ns = node.clock.monotonic_ns() - node.settings.idle_limits_kept_ns
    for account in node.accounts.left(since_ns):
        pots = [pot for pot in node.lease_index.pots.values() if pot.account == account]
        if all(pot.is_at_rest and not pot.has_leases for pot in pots):
            node.limits.forget(account)
            node.accounts.forget(account)
            for pot in pots:
                node.lease_index.forget_pot(pot)


def _cut(node: Node, pot: PotState) -> None:
    """Give back what the leases on a pot have free, and what an exchange that is under way may still bring."""
    for lease in pot.leases.values():
        lease.give_back_free()
        node.lease_index.recalled[lease.lease_id] = None
        node.work.exchange()
