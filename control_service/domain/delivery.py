"""Deliveries: one alert on its way to one webhook, until it is taken, refused or given up."""

import enum
from dataclasses import dataclass, replace
from typing import Final

from control_service.domain.names import webhook_name
from control_service.domain.webhook import Webhook

SECOND_US: Final = 1_000_000
DAY_US: Final = 86_400 * SECOND_US
RETRIED_FOR_US: Final = 3 * DAY_US
"""Time for which a delivery is tried again."""
LEASE_US: Final = 60 * SECOND_US
"""Time after which a delivery that somebody has taken and not finished is taken by another."""
FIRST_RETRY_US: Final = 5 * SECOND_US
"""Time from the first attempt to the second, before jitter."""
RETRY_US_MAX: Final = 4 * 3_600 * SECOND_US
"""Maximum time between two attempts."""
GROWTH: Final = 3
"""Factor between one interval of attempts and the next."""
JITTER: Final = 0.5
"""Part of an interval that is left to chance."""
DELIVERIES_KEPT_US: Final = 30 * DAY_US
"""Time for which a delivery that has ended is kept."""

TEST_NUMBER: Final = 0
"""Number of the alert that a test delivers, which is none of the account's."""

_TAKEN: Final = range(200, 300)
_GONE: Final = 410
_RETRIED: Final = frozenset({408, 409, 429})
"""Statuses of refusals that a later attempt may not meet."""
_REFUSED: Final = range(400, 500)


class DeliveryState(enum.StrEnum):
    """How far a delivery is."""

    PENDING = "PENDING"
    DELIVERED = "DELIVERED"
    REFUSED = "REFUSED"
    GIVEN_UP = "GIVEN_UP"
    CANCELLED = "CANCELLED"


class Problem(enum.StrEnum):
    """Why the last attempt brought no answer; NONE where it did, or there was none."""

    NONE = "NONE"
    ADDRESS_REFUSED = "ADDRESS_REFUSED"
    NAME_UNKNOWN = "NAME_UNKNOWN"
    CONNECTION = "CONNECTION"
    TLS = "TLS"
    TIMEOUT = "TIMEOUT"
    ANSWER_BROKEN = "ANSWER_BROKEN"


@dataclass(frozen=True, slots=True)
class Outcome:
    """What came of an attempt: the status of an answer, or the problem in its place.

    `retry_after_us`: the time for which the receiver asked to be left alone; 0 where it did not.
    """

    status: int = 0
    problem: Problem = Problem.NONE
    retry_after_us: int = 0

    @property
    def is_gone(self) -> bool:
        """Whether the receiver says that there is nothing there any more."""
        return self.status == _GONE

    @property
    def is_taken(self) -> bool:
        """Whether the receiver has the message."""
        return self.status in _TAKEN

    @property
    def is_refused(self) -> bool:
        """Whether trying again is of no use."""
        return self.status in _REFUSED and self.status not in _RETRIED


@dataclass(frozen=True, slots=True)
class Delivery:
    """One alert for one webhook. `next_attempt_us` is None once it has ended, and the end of a lease while one sends.

    `give_up_us`: no attempt begins after it.
    """

    webhook_uid: str
    message_id: str
    account_id: str
    webhook_id: str
    alert_number: int
    create_us: int
    give_up_us: int
    next_attempt_us: int | None
    state: DeliveryState = DeliveryState.PENDING
    attempt_count: int = 0
    last_attempt_us: int | None = None
    last_status: int = 0
    last_problem: Problem = Problem.NONE

    @property
    def name(self) -> str:
        """`accounts/{account}/webhooks/{webhook}/deliveries/{delivery}`."""
        return f"{webhook_name(self.account_id, self.webhook_id)}/deliveries/{self.message_id}"

    def taken(self, now_us: int) -> "Delivery":
        """The delivery while an attempt is made; it is due again if nobody says what came of the attempt."""
        return replace(
            self, attempt_count=self.attempt_count + 1, last_attempt_us=now_us, next_attempt_us=now_us + LEASE_US
        )

    def after(self, outcome: Outcome, now_us: int, chance: float) -> "Delivery":
        """The delivery after an attempt. `chance` is from 0 to 1."""
        seen = replace(self, last_status=outcome.status, last_problem=outcome.problem)
        if outcome.is_taken:
            return replace(seen, state=DeliveryState.DELIVERED, next_attempt_us=None)
        if outcome.is_refused:
            return replace(seen, state=DeliveryState.REFUSED, next_attempt_us=None)
        asked_us = min(outcome.retry_after_us, RETRY_US_MAX)
        next_us = now_us + max(asked_us, retry_after_us(self.attempt_count, chance))
        if next_us > self.give_up_us:
            return replace(seen, state=DeliveryState.GIVEN_UP, next_attempt_us=None)
        return replace(seen, next_attempt_us=next_us)


def new_delivery(webhook: Webhook, message_id: str, alert_number: int, now_us: int) -> Delivery:
    """A delivery that is due now."""
    return Delivery(
        webhook_uid=webhook.uid,
        message_id=message_id,
        account_id=webhook.account_id,
        webhook_id=webhook.webhook_id,
        alert_number=alert_number,
        create_us=now_us,
        give_up_us=now_us + RETRIED_FOR_US,
        next_attempt_us=now_us,
    )


def retry_after_us(attempt_count: int, chance: float) -> int:
    """The time to the next attempt after so many: it grows up to a bound, and chance takes up to half of it away."""
    growing_us = FIRST_RETRY_US
    for _ in range(attempt_count - 1):
        growing_us = min(growing_us * GROWTH, RETRY_US_MAX)
    return growing_us - int(growing_us * JITTER * chance)
