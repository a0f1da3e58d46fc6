"""Admission of exchanges: which of a group are taken, and why the others are not. Taken ones renew their node's leases.

Whether an exchange is taken is decided by one update of the nodes' rows, whose conditions are the epoch, the position
among the node's exchanges, and the configuration that the node has acknowledged. So no replica takes what another one
has taken, and an exchange that is refused leaves the others of its group alone.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from control_service.domain.audit_entry import entry_of_refusal
from control_service.domain.backup_detection import Mark
from control_service.domain.errors import ControlError, Reason, RefusedError, SupersededError
from control_service.domain.node import Node
from control_service.usecases.fleet.exchange_messages import ExchangeRequest
from control_service.usecases.fleet.lease_statement import LeaseStatement, closing
from control_service.usecases.fleet.node_registration import (
    control_went_backwards,
    fenced,
    metering_went_backwards,
    not_registered,
)
from control_service.usecases.ports import Transaction

LEFT_BEHIND_MAX: Final = 1_000
"""Maximum number of leases of former epochs that one group closes; the rest waits for the nodes' next exchanges."""


@dataclass(frozen=True, slots=True)
class Admission:
    """The exchanges of a group that are taken, and by node why others are not.

    `nodes`: the rows of all nodes of the group that ever registered, as they were before.
    """

    taken: Sequence[ExchangeRequest]
    refused: Mapping[str, ControlError]
    nodes: Mapping[str, Node]


async def admit(tx: Transaction, requests: Sequence[ExchangeRequest], expected_version: int, now_us: int) -> Admission:
    """Takes those exchanges that may be taken: locks their nodes, renews their leases, notes what they have refused.

    Args:
        tx: the group's transaction.
        requests: exchanges of different nodes.
        expected_version: the configuration that every node should have acknowledged by now.
        now_us: the moment of the group.
    """
    nodes = await tx.nodes.lock_all([request.node for request in requests])
    renewals = [request.renewal for request in requests]
    renewed = await tx.nodes.renew(renewals, expected_version, now_us) if nodes else frozenset()
    taken = [request for request in requests if request.node in renewed]
    entries = [
        entry_of_refusal(calls, f"{request.node}/{request.epoch}", request.node)
        for request in taken
        for calls in request.refused
    ]
    await tx.audit.count(entries)
    refused = {
        request.node: refusal(request, nodes.get(request.node), expected_version)
        for request in requests
        if request.node not in renewed
    }
    return Admission(taken, refused, nodes)


async def left_behind(tx: Transaction, admission: Admission) -> list[LeaseStatement]:
    """Statements that close open leases of epochs that their nodes have settled.

    These leases were granted, but the node ended before the metering database recorded them. What was consumed on them
    came with stand-ins, and was drawn from them.
    """
    left: list[LeaseStatement] = []
    for request in admission.taken:
        below_epoch = min(request.settled_below_epoch, request.epoch)
        limit = LEFT_BEHIND_MAX - len(left)
        if below_epoch <= admission.nodes[request.node].settled_below_epoch or not limit:
            continue
        found = await tx.leases.open_below(request.node, below_epoch, limit)
        if len(found) < limit:
            await tx.nodes.mark_settled(request.node, below_epoch)
        stated_ids = {one.statement.lease_id for one in request.statements}
        left += [closing(named) for named in found if named.lease.lease_id not in stated_ids]
    return left


def refusal(request: ExchangeRequest, node: Node | None, expected_version: int) -> ControlError:
    """The error that says why an exchange was not taken."""
    if node is None or request.epoch > node.epoch:
        return not_registered(request.node, request.epoch)
    if request.epoch < node.epoch:
        return fenced(request.node, request.epoch, node.epoch)
    if request.answered_number > node.exchange_number:
        return control_went_backwards(Mark(request.node, request.epoch, request.commit_no, request.answered_number))
    if request.exchange_number <= node.exchange_number:
        return SupersededError(
            Reason.EXCHANGE_SUPERSEDED,
            f"Exchange {node.exchange_number} of node {node.name} was taken already; say it again with a greater "
            "number.",
            node=request.node,
        )
    if request.commit_no < node.commit_no:
        return metering_went_backwards(node)
    return RefusedError(
        Reason.CONFIG_STALE,
        f"Node {request.node} has not acknowledged configuration {expected_version}; acknowledge it, then exchange.",
        node=request.node,
    )
