"""RecoveryService on the wire."""

from typing import Final

from typing_extensions import override

from control_service.api.calls import Context, Incoming
from control_service.api.fields import INT64_MAX, Fields
from control_service.api.fleet_codec import check_node, decode_lease
from control_service.domain.lease import Statement
from control_service.domain.names import account_name
from control_service.usecases.fleet.lease_statement import LeaseStatement
from control_service.usecases.fleet.node_names import require_names
from control_service.usecases.fleet.restore_recovery import RestoreRecovery
from tallygate._server.grpc.caller import current_caller
from tallygate._wire.enums import encode_enum
from tallygate.control.v1 import pot_pb2, recovery_service_pb2_grpc
from tallygate.control.v1 import recovery_service_pb2 as pb

LEASES_MAX: Final = 1_000


class RecoveryServicer(recovery_service_pb2_grpc.RecoveryServiceServicer):
    """Decodes, calls, encodes."""

    def __init__(self, recovery: RestoreRecovery) -> None:
        self._recovery = recovery

    @override
    async def BookLeases(self, request: pb.BookLeasesRequest, context: Context) -> pb.BookLeasesResponse:
        with Fields() as fields:
            if len(request.leases) > LEASES_MAX:
                fields.refuse("leases", f"must not be more than {LEASES_MAX:,}")
            totals = [_decode_total(fields, f"leases[{index}].", lease) for index, lease in enumerate(request.leases)]
        require_names(current_caller().rights, {one.node for one in totals})
        booked = await self._recovery.book(totals, Incoming(request, context).as_call())
        return pb.BookLeasesResponse(
            booked=[
                pb.BookedUnits(account=account_name(account), pot_kind=encode_enum(pot_pb2.PotKind, kind), units=units)
                for (account, kind), units in sorted(booked.units.items())
            ],
            unknown_lease_ids=booked.unknown_lease_ids,
        )

    @override
    async def FinishRecovery(self, request: pb.FinishRecoveryRequest, context: Context) -> pb.FinishRecoveryResponse:
        with Fields() as fields:
            for index, node in enumerate(request.nodes):
                check_node(fields, f"nodes[{index}].", node)
        fenced = {node.node: node.epoch for node in request.nodes}
        require_names(current_caller().rights, fenced)
        count = await self._recovery.finish(fenced, Incoming(request, context).as_call())
        return pb.FinishRecoveryResponse(closed_lease_count=count)


def _decode_total(fields: Fields, path: str, lease: pb.LeaseTotal) -> LeaseStatement:
    check_node(fields, path, lease)
    consumed_units = fields.number(f"{path}consumed_units", lease.consumed_units, 0, INT64_MAX)
    kind, limit = decode_lease(fields, path, lease)
    return LeaseStatement(
        node=lease.node,
        epoch=lease.epoch,
        service_name=lease.inference_service,
        service_uid=lease.inference_service_uid,
        kind=kind,
        limit=limit,
        statement=Statement(
            lease_id=lease.lease_id,
            consumed_units=consumed_units,
            closing=True,
        ),
    )
