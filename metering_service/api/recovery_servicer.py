"""RecoveryService: what `tallygate recover` asks of the metering database."""

from collections.abc import Callable

import grpc
from typing_extensions import override

from metering_service.api.control.codec import KINDS
from metering_service.api.control.limit_codec import encode_limit_pot
from metering_service.domain.errors import InvalidRequestError
from metering_service.domain.records import LeaseRecord, caretaker_of
from metering_service.usecases.ports import RecoveryStore
from tallygate._server.grpc.paging import PAGE_SIZE_MAX, decode_page_token, encode_page
from tallygate.control.v1 import recovery_service_pb2 as control_pb
from tallygate.metering.v1 import recovery_service_pb2 as pb
from tallygate.metering.v1 import recovery_service_pb2_grpc


class RecoveryServicer(recovery_service_pb2_grpc.RecoveryServiceServicer):
    """Decodes, calls, encodes."""

    def __init__(self, store: RecoveryStore, new_id: Callable[[], str]) -> None:
        self._store = store
        self._new_id = new_id

    @override
    async def FenceNodes(
        self, request: pb.FenceNodesRequest, context: "grpc.aio.ServicerContext[pb.FenceNodesRequest, object]"
    ) -> pb.FenceNodesResponse:
        """End the epochs of all nodes; answer the last epoch of each that may not write."""
        violations = [
            (f"known[{index}].{field}", problem)
            for index, node in enumerate(request.known)
            for field, is_wrong, problem in (
                ("node", not node.node, "must not be empty"),
                ("epoch", node.epoch < 1, "must be 1 or more"),
            )
            if is_wrong
        ]
        if violations:
            raise InvalidRequestError(*violations)
        known = {node.node: node.epoch for node in request.known}
        fenced = await self._store.fence(known, caretaker_of(self._new_id()), closes_leases=request.closes_leases)
        return pb.FenceNodesResponse(
            fenced=[control_pb.FencedNode(node=node, epoch=epoch) for node, epoch in sorted(fenced.items())],
        )

    @override
    async def ListLeaseTotals(
        self, request: pb.ListLeaseTotalsRequest, context: "grpc.aio.ServicerContext[pb.ListLeaseTotalsRequest, object]"
    ) -> pb.ListLeaseTotalsResponse:
        """Answer one page of the consumption on leases, and how many requests are not settled yet."""
        if not 0 <= request.page_size <= PAGE_SIZE_MAX:
            raise InvalidRequestError(("page_size", f"must be from 0 to {PAGE_SIZE_MAX:,}"))
        after = decode_page_token(request, ("",))
        if after is None:
            raise InvalidRequestError(("page_token", "must be the next_page_token of the page before"))
        size = request.page_size or PAGE_SIZE_MAX
        unsettled = await self._store.unsettled_count()
        found = await self._store.lease_totals(*after, size + 1)
        leases, token = encode_page(request, found, size, _encode_total, lambda lease: (lease.lease_id,))
        return pb.ListLeaseTotalsResponse(
            leases=leases,
            next_page_token=token,
            unsettled_request_count=unsettled,
            metering_database_id=await self._store.database_id(),
        )


def _encode_total(lease: LeaseRecord) -> control_pb.LeaseTotal:
    pot = lease.limit_pot
    return control_pb.LeaseTotal(
        lease_id=lease.lease_id,
        node=lease.node,
        epoch=lease.epoch,
        inference_service=lease.service if pot is None else "",
        inference_service_uid=lease.service_uid,
        pot_kind=KINDS[lease.pot_kind],
        consumed_units=lease.consumed_units,
        limit_pot=encode_limit_pot(lease.service, pot) if pot is not None else None,
    )
