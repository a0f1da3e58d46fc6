"""Replays: alerts that are sent to a webhook again, under the ids that they had."""

from dataclasses import dataclass
from typing import Final

from control_service.domain.account import Account
from control_service.domain.delivery import new_delivery
from control_service.usecases.alerts.webhooks import get_enabled
from control_service.usecases.idempotent_call import Act
from control_service.usecases.ports import Transaction

REPLAYED_MAX: Final = 1_000
"""Maximum number of alerts that one replay sends again."""


@dataclass(frozen=True, slots=True)
class ReplayFrom:
    """From which number, and from which moment on."""

    number: int = 1
    start_us: int = 0


@dataclass(frozen=True, slots=True)
class Replayed:
    """How many alerts are sent again, and the number from which another replay goes on; 0 where none is left."""

    alert_count: int
    next_number: int


async def replay_alerts(tx: Transaction, account: Account, webhook_id: str, begin: ReplayFrom, act: Act) -> Replayed:
    """Sends the alerts of the webhook's kinds on their way again, and those that never were on it.

    Raises:
        ResourceNotFoundError: there is no such webhook.
        RefusedError: WEBHOOK_DISABLED.
    """
    account_id = account.account_id
    webhook = await get_enabled(tx, account_id, webhook_id)
    found = await tx.alerts.since(account_id, begin.number, begin.start_us, REPLAYED_MAX + 1)
    wanted = [alert for alert in found[:REPLAYED_MAX] if webhook.wants(alert.content.kind)]
    await tx.deliveries.put([new_delivery(webhook, one.message_id, one.number, act.now_us) for one in wanted])
    next_number = found[REPLAYED_MAX].number if len(found) > REPLAYED_MAX else 0
    return Replayed(len(wanted), next_number)
