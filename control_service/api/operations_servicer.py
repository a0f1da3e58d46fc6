"""OperationsService on the wire."""

from typing_extensions import override

from control_service.api import operations_codec as codec
from control_service.api.calls import Context
from control_service.api.fields import Fields
from control_service.api.paging import decode_page
from control_service.usecases.fleet.node_liveness import NodeLiveness
from control_service.usecases.people.operations import list_pots
from control_service.usecases.ports import Database
from tallygate._diagnostics import encode_diagnostics
from tallygate._server.clock import Clock
from tallygate._server.grpc.paging import encode_page
from tallygate._server.process.program_facts import ReadFacts
from tallygate.control.v1 import operations_service_pb2 as pb
from tallygate.control.v1 import operations_service_pb2_grpc


class OperationsServicer(operations_service_pb2_grpc.OperationsServiceServicer):
    """Reads and changes nothing."""

    def __init__(
        self, database: Database, clock: Clock, liveness: NodeLiveness, diagnostics: ReadFacts | None = None
    ) -> None:
        self._database = database
        self._diagnostics = diagnostics
        self._clock = clock
        self._liveness = liveness

    @override
    async def ListNodes(self, request: pb.ListNodesRequest, context: Context) -> pb.ListNodesResponse:
        with Fields() as fields:
            (after,), limit = decode_page(fields, request, ("",))
        async with self._database.reading() as tx:
            nodes = await tx.nodes.page(after, limit + 1)
            metering_database_id = await tx.nodes.metering_database()
            version = await tx.config_version()
        is_live = self._liveness.is_live
        page, token = encode_page(
            request,
            nodes,
            limit,
            lambda node: codec.encode_node(node, metering_database_id, live=is_live(node)),
            lambda node: (node.name,),
        )
        return pb.ListNodesResponse(nodes=page, next_page_token=token, config_version=version)

    @override
    async def ListPots(self, request: pb.ListPotsRequest, context: Context) -> pb.ListPotsResponse:
        service_id = None
        with Fields() as fields:
            account_id = fields.account("account", request.account)
            if request.inference_service:
                owner, service_id = fields.service("inference_service", request.inference_service)
                if owner != account_id:
                    fields.refuse("inference_service", "must be a service of the account")
            # Money's place is 0 and its service's id is empty: the position before it has no place of its own.
            after, limit = decode_page(fields, request, ("", 0, "", "", 0))
        if not request.page_token:
            after = ("", -1, *after[2:])
        async with self._database.reading() as tx:
            pots = await list_pots(
                tx, account_id, service_id, after=after, limit=limit + 1, now_us=self._clock.now_us()
            )
        page, token = encode_page(request, pots, limit, codec.encode_pot, lambda pot: pot.position)
        return pb.ListPotsResponse(pots=page, next_page_token=token)

    @override
    async def ListLeases(self, request: pb.ListLeasesRequest, context: Context) -> pb.ListLeasesResponse:
        with Fields() as fields:
            wanted = codec.decode_lease_filter(fields, request)
            after, limit = decode_page(fields, request, (0, ""))
        async with self._database.reading() as tx:
            named = await tx.leases.page(wanted, after, limit + 1)
        page, token = encode_page(
            request, named, limit, codec.encode_lease, lambda one: (one.lease.create_us, one.lease.lease_id)
        )
        return pb.ListLeasesResponse(leases=page, next_page_token=token)

    @override
    async def GetDiagnostics(self, request: pb.GetDiagnosticsRequest, context: Context) -> pb.GetDiagnosticsResponse:
        assert self._diagnostics is not None, "a program was put together without them"
        return pb.GetDiagnosticsResponse(diagnostics=encode_diagnostics(await self._diagnostics()))
