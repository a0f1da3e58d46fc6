"""AuditService."""

from typing_extensions import override

from control_service.api import audit_codec as codec
from control_service.api.calls import Context
from control_service.api.fields import INT64_MAX, Fields
from control_service.api.paging import decode_page
from control_service.usecases.ports import Database
from tallygate._access.permission import Permission
from tallygate._server.grpc.caller import current_caller
from tallygate._server.grpc.paging import encode_page
from tallygate.control.v1 import audit_service_pb2 as pb
from tallygate.control.v1 import audit_service_pb2_grpc


class AuditServicer(audit_service_pb2_grpc.AuditServiceServicer):
    """The audit log, as far as the caller may see it."""

    def __init__(self, database: Database) -> None:
        self._database = database

    @override
    async def ListAuditEntries(
        self, request: pb.ListAuditEntriesRequest, context: Context
    ) -> pb.ListAuditEntriesResponse:
        with Fields() as fields:
            wanted = codec.decode_filter(fields, request, current_caller().rights.sight(Permission.AUDIT_READ))
            before, limit = decode_page(fields, request, (INT64_MAX, ""))
        async with self._database.reading() as tx:
            found = await tx.audit.page(wanted, before, limit + 1)
        page, token = encode_page(
            request, found, limit, codec.encode_entry, lambda entry: (entry.event_us, entry.entry_id)
        )
        return pb.ListAuditEntriesResponse(audit_entries=page, next_page_token=token)
