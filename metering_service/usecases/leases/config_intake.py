"""The intake of configurations from the control service."""

from collections import deque
from dataclasses import replace
from typing import Final

from metering_service.domain.decision import deny
from metering_service.domain.service import ServiceConfig, Status
from metering_service.usecases.lookups.parked import retry
from metering_service.usecases.node import Node
from metering_service.usecases.reports.cutting import cut
from metering_service.usecases.reports.key_check import ended

VISITED_AT_ONCE: Final = 1_000
"""Maximum number of services that one round of housekeeping looks at, to find those that are idle."""


def take_config(node: Node, config: ServiceConfig) -> None:
    """Apply a service's configuration: tell its open requests of a stop, decide on what waited for it."""
    service = node.services.get(config.name)
    if service is None:
        return
    if config.status is Status.DELETED and service.config is not None:
        # What runs is still booked: under the uid that it began with, and paid as it was authorised.
        config = replace(
            service.config,
            status=Status.DELETED,
            reservation_pays=False,
            trial_pays=False,
            postpaid_pays=False,
            debt_allowed=False,
            version=config.version,
        )
    service.config = config
    service.next_look_ns = 0
    node.tell_known(service.name)
    refusal = config.refusal()
    for request in list(service.open.values()):
        if refusal is not None or (node.keys.of_request and ended(node, config, request)):
            request.leave_fast_road()
        if refusal is None:
            request.stop_sent = False
        elif not request.stop_sent and request.session is not None:
            request.stop_sent = True
            request.session.order(cut(node, request, deny(request.request_id, refusal, config_version=config.version)))
    for lease in service.leases.values():
        lease.demand.replenished()
    retry(node, service)
    if config.status is Status.UNKNOWN:
        node.note_unknown(config.name)
    else:
        node.unknown.pop(config.name, None)


def forget_idle(node: Node) -> None:
    """Forget services that no report has named for long; the next report has control asked about them again.

    Some of them at a time, each in its turn.
    """
    since_ns = node.clock.monotonic_ns() - node.settings.idle_service_kept_ns
    # Taken from those that are known: made-up names come and go faster than they are looked at.
    node.service_round = node.service_round or deque(node.services.values())
    for _ in range(min(VISITED_AT_ONCE, len(node.service_round))):
        service = node.service_round.popleft()
        is_idle = service.last_used_ns <= since_ns and service.is_empty
        if is_idle and node.services.get(service.name) is service:
            node.forget(service.name)
