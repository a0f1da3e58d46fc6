"""Ports of alerts: what use cases need of a transaction besides `ports`."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from control_service.domain.alert import Alert, AlertContent, AlertKind
from control_service.domain.delivery import Delivery
from control_service.domain.webhook import Webhook


@dataclass(frozen=True, slots=True)
class AlertFilter:
    """The alerts of an account to list; no kinds are all. From `start_us`, before `end_us`."""

    account_id: str
    kinds: frozenset[AlertKind] = frozenset()
    start_us: int | None = None
    end_us: int | None = None


class Alerts(Protocol):
    """The alerts of all accounts."""

    async def add(self, account_id: str, content: AlertContent, now_us: int) -> Alert:
        """Stores an alert under the account's next number; the account was locked."""

    async def find(self, account_id: str, number: int) -> Alert | None:
        """The alert; None where there is none, or none any more."""

    async def page(self, wanted: AlertFilter, before: int, limit: int) -> list[Alert]:
        """Alerts whose number is less than `before`, the newest first."""

    async def since(self, account_id: str, number: int, start_us: int, limit: int) -> list[Alert]:
        """Alerts from this number and from this moment on, by number, at most `limit`."""

    async def delete(self, before_us: int, limit: int) -> int:
        """Deletes alerts of before this moment, the oldest first, at most `limit`.

        Returns:
            How many were deleted.
        """


class Webhooks(Protocol):
    """The webhooks of all accounts. A change to one locks its account first."""

    async def find(self, account_id: str, webhook_id: str) -> Webhook | None:
        """The webhook; None if there is none."""

    async def with_uid(self, uid: str) -> Webhook | None:
        """The webhook; None if there is none any more."""

    async def of_account(self, account_id: str) -> list[Webhook]:
        """The account's webhooks, by id."""

    async def add(self, webhook: Webhook) -> None:
        """Stores a new webhook. Raises ResourceExistsError if there is one of its name."""

    async def save(self, webhook: Webhook) -> None:
        """Stores the webhook as it is now; its account was locked."""

    async def delete(self, webhook: Webhook) -> None:
        """Deletes the webhook with its deliveries; its account was locked."""


class Deliveries(Protocol):
    """Alerts on their way to webhooks."""

    async def put(self, deliveries: Sequence[Delivery]) -> None:
        """Stores these, in place of those of the same webhooks and messages that there are."""

    async def page(self, webhook_uid: str, before: tuple[int, str], limit: int) -> list[Delivery]:
        """Those of a webhook whose (time, message id) is less than `before`, the newest first."""

    async def due_webhooks(self, now_us: int, after_uid: str, limit: int) -> list[str]:
        """The uids, greater than `after_uid`, of webhooks that have deliveries due, in order."""

    async def first_due(self, webhook_uid: str, now_us: int) -> Delivery | None:
        """What is to be sent to this webhook next; None if nothing is due."""

    async def take(self, delivery: Delivery, now_us: int) -> Delivery | None:
        """Takes a delivery for an attempt, unless it changed since it was read; None then."""

    async def finish(self, delivery: Delivery) -> bool:
        """Stores what came of an attempt, unless the delivery was taken again meanwhile. Says whether it was stored."""

    async def cancel(self, webhook_uid: str) -> None:
        """Ends all deliveries to this webhook that have not ended."""

    async def delete(self, before_us: int, limit: int) -> int:
        """Deletes deliveries that have ended and were made before this moment, the oldest first, at most `limit`.

        Returns:
            How many were deleted.
        """
