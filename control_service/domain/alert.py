"""Alerts: what an account's people want to be told of, numbered without gaps in each account."""

import enum
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

from control_service.domain.names import alert_name

DAY_US: Final = 86_400_000_000
ALERTS_KEPT_US: Final = 365 * DAY_US
"""Time for which an alert is kept."""


class AlertKind(enum.StrEnum):
    """What an alert tells of."""

    BUDGET_THRESHOLD = "BUDGET_THRESHOLD"
    TRIAL_THRESHOLD = "TRIAL_THRESHOLD"
    MONEY_THRESHOLD = "MONEY_THRESHOLD"
    SERVICE_STATUS = "SERVICE_STATUS"
    ACCOUNT_OVERDUE = "ACCOUNT_OVERDUE"
    ACCOUNT_RECOVERED = "ACCOUNT_RECOVERED"


@dataclass(frozen=True, slots=True)
class AlertContent:
    """What an alert says: of which resource, with its figures, which are whole numbers, and its words."""

    kind: AlertKind
    resource: str
    figures: Mapping[str, int] = field(default_factory=dict)
    words: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Alert:
    """One alert. `number` counts from 1 in each account, without gaps."""

    account_id: str
    number: int
    content: AlertContent
    create_us: int

    @property
    def name(self) -> str:
        """`accounts/{account}/alerts/{alert}`."""
        return alert_name(self.account_id, self.number)

    @property
    def message_id(self) -> str:
        """The id by which a receiver knows a repeat; it has the time, since a restored database counts again."""
        return f"{self.account_id}-{self.number}-{self.create_us:x}"
