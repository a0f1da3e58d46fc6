"""The audit log on the wire."""

from collections.abc import Sequence
from typing import Final

from control_service.api.fields import INT64_MAX, Fields
from control_service.domain.audit_entry import AuditEntry, AuditOutcome, account_of
from control_service.domain.names import account_name
from control_service.usecases.audit_ports import AuditFilter
from tallygate._access.refusals import RefusedCalls
from tallygate._access.rights import Sight
from tallygate._wire.enums import encode_enum
from tallygate._wire.times import encode_timestamp
from tallygate.control.v1 import audit_entry_pb2, audit_service_pb2, fleet_service_pb2

REFUSED_MAX: Final = 100
NAME_LENGTH_MAX: Final = 1_024
"""Maximum number of characters of a member's or a resource's name."""
_DENIED: Final = "PERMISSION_DENIED"
"""Reason by which only callers are refused who have some right in the account."""


def decode_filter(fields: Fields, request: audit_service_pb2.ListAuditEntriesRequest, sight: Sight) -> AuditFilter:
    """The entries to list; notes violations in `fields`."""

    def text(path: str) -> str | None:
        return fields.text(path, getattr(request, path), NAME_LENGTH_MAX) or None

    def moment_us(path: str) -> int | None:
        return fields.moment_us(path, getattr(request, path)) if request.HasField(path) else None  # type: ignore[arg-type]

    return AuditFilter(
        sight=sight,
        account_id=fields.account("account", request.account) if request.account else None,
        principal=text("principal"),
        resource=text("resource"),
        method=text("method"),
        outcome=fields.member("outcome", audit_entry_pb2.AuditOutcome, request.outcome, AuditOutcome),
        start_us=moment_us("start_time"),
        end_us=moment_us("end_time"),
    )


def encode_entry(entry: AuditEntry) -> audit_entry_pb2.AuditEntry:
    """An entry."""
    return audit_entry_pb2.AuditEntry(
        name=f"auditEntries/{entry.entry_id}",
        event_time=encode_timestamp(entry.event_us),
        outcome=encode_enum(audit_entry_pb2.AuditOutcome, entry.outcome),
        principal=entry.source.principal,
        access_token=entry.source.access_token,
        caller_note=entry.source.note,
        peer=entry.source.peer,
        method=entry.method,
        resource=entry.resource,
        account=account_name(entry.account_id) if entry.account_id else "",
        request_json=entry.request_json,
        reason=entry.reason,
        call_count=entry.call_count,
        node=entry.node,
    )


def decode_refused(fields: Fields, messages: Sequence[fleet_service_pb2.RefusedCalls]) -> list[RefusedCalls]:
    """What a node has refused; notes violations in `fields`."""
    if len(messages) > REFUSED_MAX:
        fields.refuse("refused_calls", f"must not be more than {REFUSED_MAX}")
    return [
        _decode_refused(fields, f"refused_calls[{index}].", message)
        for index, message in enumerate(messages[:REFUSED_MAX])
    ]


def _decode_refused(fields: Fields, path: str, message: fleet_service_pb2.RefusedCalls) -> RefusedCalls:
    if not message.HasField("minute"):
        fields.refuse(f"{path}minute", "must be set")
    resource = fields.text(f"{path}resource", message.resource, NAME_LENGTH_MAX)
    return RefusedCalls(
        first_us=fields.moment_us(f"{path}minute", message.minute),
        principal=fields.text(f"{path}principal", message.principal, NAME_LENGTH_MAX),
        peer=fields.text(f"{path}peer", message.peer),
        method=fields.required_text(f"{path}method", message.method),
        reason=fields.required_text(f"{path}reason", message.reason),
        resource=resource,
        account_id=account_of(resource) if message.reason == _DENIED else "",
        call_count=fields.number(f"{path}call_count", message.call_count, 1, INT64_MAX),
    )
