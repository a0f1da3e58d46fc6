"""The audit log: what somebody changed, or was refused, and who it was."""

import enum
import hashlib
from dataclasses import dataclass
from typing import Final

from control_service.domain.actor import CallSource
from tallygate._access.refusals import CREDENTIAL, RefusedCalls
from tallygate._access.scope import scope_of_resource

_MEMBER_PREFIX: Final = "serviceAccount:"
_ID_LENGTH: Final = 32


class AuditOutcome(enum.StrEnum):
    """What came of a call."""

    CHANGED = "CHANGED"
    UNAUTHENTICATED = "UNAUTHENTICATED"
    DENIED = "DENIED"


@dataclass(frozen=True, slots=True)
class AuditEntry:
    """One entry. Times are of the change, or of the first refusal in a minute; `account_id` is empty for the platform.

    `request_json` is what was asked, without secrets. `node` is the metering node that refused; empty for control.
    """

    entry_id: str
    event_us: int
    outcome: AuditOutcome
    method: str
    source: CallSource
    resource: str = ""
    account_id: str = ""
    request_json: str = ""
    reason: str = ""
    call_count: int = 1
    node: str = ""


def account_of(resource: str) -> str:
    """The id of the account in which a resource lies, or a member that is a service account; empty for the platform."""
    return scope_of_resource(resource.removeprefix(_MEMBER_PREFIX)).account_id


def entry_of_refusal(calls: RefusedCalls, writer: str, node: str = "") -> AuditEntry:
    """The entry of refused calls. `writer` is who counts them, anew after a start: each count has its own entry."""
    parts = "\n".join(map(str, (writer, *calls.key)))
    return AuditEntry(
        entry_id=hashlib.sha256(parts.encode()).hexdigest()[:_ID_LENGTH],
        event_us=calls.first_us,
        outcome=AuditOutcome.UNAUTHENTICATED if calls.reason.startswith(CREDENTIAL) else AuditOutcome.DENIED,
        method=calls.method,
        source=CallSource(calls.principal, calls.access_token, calls.note, calls.peer),
        resource=calls.resource,
        account_id=calls.account_id,
        request_json=calls.request_json,
        reason=calls.reason,
        call_count=calls.call_count,
        node=node,
    )
