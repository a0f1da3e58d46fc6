"""Events: every change of a service's status or stop reasons, with time, cause and actor."""

import enum
from dataclasses import dataclass

from control_service.domain.actor import Actor
from control_service.domain.status import Status, StopReason


class EventCause(enum.StrEnum):
    """The causes of changes."""

    TRIAL_CLAIMED = "TRIAL_CLAIMED"
    TRIAL_EXHAUSTED = "TRIAL_EXHAUSTED"
    TRIAL_EXPIRED = "TRIAL_EXPIRED"
    POSTPAID_ENABLED = "POSTPAID_ENABLED"
    POSTPAID_DISABLED = "POSTPAID_DISABLED"
    RESERVATION_PURCHASED = "RESERVATION_PURCHASED"
    RESERVATION_ENDED = "RESERVATION_ENDED"
    ACCOUNT_OVERDUE = "ACCOUNT_OVERDUE"
    ACCOUNT_RECOVERED = "ACCOUNT_RECOVERED"
    SUSPENDED = "SUSPENDED"
    RESUMED = "RESUMED"
    FLEET_ACKNOWLEDGED = "FLEET_ACKNOWLEDGED"
    ACCOUNT_UPDATED = "ACCOUNT_UPDATED"
    DELETED = "DELETED"
    CLOCK_SET_BACK = "CLOCK_SET_BACK"
    PRICE_TOOK_EFFECT = "PRICE_TOOK_EFFECT"
    MODEL_RETIRED = "MODEL_RETIRED"
    MODEL_RESTORED = "MODEL_RESTORED"
    ACCOUNT_CLOSED = "ACCOUNT_CLOSED"
    ACCOUNT_REOPENED = "ACCOUNT_REOPENED"


@dataclass(frozen=True, slots=True)
class Origin:
    """Cause, actor and time of a change."""

    cause: EventCause
    actor: Actor
    at_us: int


@dataclass(frozen=True, slots=True)
class ServiceEvent:
    """One change of one service."""

    account_id: str
    service_id: str
    event_number: int
    origin: Origin
    old_status: Status
    new_status: Status
    old_stop_reasons: frozenset[StopReason]
    new_stop_reasons: frozenset[StopReason]
