"""Nodes, pots and leases on the wire."""

from control_service.api.fields import Fields
from control_service.api.limit_pot_codec import encode_limit_pot
from control_service.domain.names import account_name, service_name
from control_service.domain.node import Node
from control_service.usecases.fleet_ports import LeaseFilter, NamedLease
from control_service.usecases.people.operations import PotView
from tallygate._wire.enums import encode_enum
from tallygate._wire.times import encode_timestamp
from tallygate.control.v1 import lease_pb2, node_pb2, pot_pb2
from tallygate.control.v1 import operations_service_pb2 as pb


def decode_lease_filter(fields: Fields, request: pb.ListLeasesRequest) -> LeaseFilter:
    """The leases to list; notes violations in `fields`."""
    account_id = fields.account("account", request.account) if request.account else None
    service_id = None
    if request.inference_service:
        owner, service_id = fields.service("inference_service", request.inference_service)
        if account_id not in (None, owner):
            fields.refuse("inference_service", "must be a service of the account")
        account_id = owner
    node = fields.text("node", request.node) or None
    return LeaseFilter(account_id=account_id, service_id=service_id, node=node, show_closed=request.show_closed)


def encode_node(node: Node, metering_database_id: str, *, live: bool) -> node_pb2.Node:
    """A node as of this moment."""
    return node_pb2.Node(
        node=node.name,
        epoch=node.epoch,
        metering_database_id=metering_database_id,
        acknowledged_version=node.acknowledged_version,
        last_heard_time=encode_timestamp(node.last_heard_us),
        live=live,
        lease_valid_until_time=encode_timestamp(node.lease_valid_until_us),
        exchange_number=node.exchange_number,
    )


def encode_pot(pot: PotView) -> pot_pb2.Pot:
    """A pot as of this moment."""
    return pot_pb2.Pot(
        account=account_name(pot.account_id),
        inference_service=service_name(pot.account_id, pot.service_id) if pot.service_id else "",
        kind=encode_enum(pot_pb2.PotKind, pot.kind),
        capacity_units=pot.capacity_units,
        available_units=pot.available_units,
        leased_units=pot.leased_units,
        held_units=pot.held_units,
        spent_units=pot.spent_units,
        limit_pot=None if pot.limit is None else encode_limit_pot(pot.limit),
    )


def encode_lease(named: NamedLease) -> lease_pb2.Lease:
    """A lease as control keeps it."""
    lease = named.lease
    return lease_pb2.Lease(
        lease_id=lease.lease_id,
        node=lease.node,
        epoch=lease.epoch,
        inference_service=service_name(lease.account, named.service_id) if named.service_id else "",
        inference_service_uid=lease.service_uid,
        pot_kind=encode_enum(pot_pb2.PotKind, lease.kind),
        granted_units=lease.granted_units,
        consumed_units=lease.consumed_units,
        returned_units=lease.returned_units,
        held_units=lease.held_units,
        closed=lease.closed,
        create_time=encode_timestamp(lease.create_us),
        update_time=encode_timestamp(lease.update_us),
        limit_pot=None if lease.limit is None else encode_limit_pot(lease.limit),
        refunded_units=lease.refunded_units,
    )
