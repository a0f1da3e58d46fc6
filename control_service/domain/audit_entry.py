"""The audit log: what somebody changed, or was refused, and who it was."""

import enum
import hashlib
from dataclasses import dataclass
from typing import Final

from control_service.domain.actor import CallSource
from tallygate._access.scope import scope_of_resource

MINUTE_US: Final = 60_000_000
"""Length of time in which refusals of the same caller, method and reason are one entry."""

_MEMBER_PREFIX: Final = "serviceAccount:"


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


def refusal_id(*parts: str | int) -> str:
    """The id of the entry for all refusals that have these parts in common."""
    return hashlib.sha256("\n".join(map(str, parts)).encode()).hexdigest()[:32]
