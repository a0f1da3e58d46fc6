"""RecoveryService: what `tallygate recover` asks of the metering database."""

from collections.abc import Callable

import grpc

from metering_service.api.control.codec import KINDS
from metering_service.domain.errors import InvalidRequestError
from metering_service.domain.records import LeaseRecord, caretaker_of
from metering_service.usecases.ports import RecoveryStore
from tallygate._server.grpc.message_size import fitting
from tallygate.control.v1 import recovery_service_pb2 as control_pb
from tallygate.metering.v1 import recovery_service_pb2 as pb
from tallygate.metering.v1 import recovery_service_pb2_grpc

PAGE_MAX = 1_000


class RecoveryServicer(recovery_service_pb2_grpc.RecoveryServiceServicer):
    """Decodes, calls, encodes."""

    def __init__(self, store: RecoveryStore, new_id: Callable[[], str]) -> None:
        self._store = store
        self._new_id = new_id

    async def FenceNodes(
        self, request: pb.FenceNodesRequest, context: "grpc.aio.ServicerContext[pb.FenceNodesRequest, object]"
    ) -> pb.FenceNodesResponse:
        """End the epochs of all nodes; answer the last epoch of each that may not write."""
        known = {node.node: node.epoch for node in request.known}
        fenced = await self._store.fence(known, caretaker_of(self._new_id()), closes_leases=request.closes_leases)
        return pb.FenceNodesResponse(
            fenced=[control_pb.FencedNode(node=node, epoch=epoch) for node, epoch in sorted(fenced.items())],
        )

    async def ListLeaseTotals(
        self, request: pb.ListLeaseTotalsRequest, context: "grpc.aio.ServicerContext[pb.ListLeaseTotalsRequest, object]"
    ) -> pb.ListLeaseTotalsResponse:
        """Answer one page of the consumption on leases, and how many requests are not settled yet."""
        if not 0 <= request.page_size <= PAGE_MAX:
            raise InvalidRequestError(("page_size", f"must be from 0 to {PAGE_MAX:,}"))
        size = request.page_size or PAGE_MAX
        unsettled = await self._store.unsettled_count()
        found = await self._store.lease_totals(request.page_token, size + 1)
        leases = fitting(found[:size], _total_to)
        return pb.ListLeaseTotalsResponse(
            leases=leases,
            next_page_token=leases[-1].lease_id if len(found) > len(leases) else "",
            unsettled_request_count=unsettled,
            metering_database_id=await self._store.database_id(),
        )


def _total_to(lease: LeaseRecord) -> control_pb.LeaseTotal:
    return control_pb.LeaseTotal(
        lease_id=lease.lease_id,
        node=lease.node,
        epoch=lease.epoch,
        inference_service=lease.service,
        inference_service_uid=lease.service_uid,
        budget_kind=KINDS[lease.budget_kind],
        consumed_units=lease.consumed_units,
    )
