"""Webhooks of the account `acme`, and what sends alerts to them."""

import itertools
import json
from collections.abc import Iterable

from control_service.domain.alert import AlertContent, AlertKind
from control_service.domain.delivery import Delivery
from control_service.domain.webhook import Webhook
from control_service.domain.webhook_secret import WebhookSecrets
from control_service.usecases.alert_log import tell
from control_service.usecases.alerts.courier_port import Courier
from control_service.usecases.alerts.delivery_sender import DeliverySender
from control_service.usecases.alerts.webhooks import NewWebhook, SecretMint, ShownWebhook, create_webhook
from control_service.usecases.pulse import Pulse
from control_service.webhooks.courier import HttpCourier
from tests.harness.control.people_harness import Desk
from tests.harness.control.receiver import Received
from tests.harness.patience import PATIENCE_S

SECRETS = WebhookSecrets(bytes(32))
EARLIER = (2**63 - 1, "")


class HookDesk(Desk):
    """A desk at which webhooks are made, and alerts are written."""

    secrets = SECRETS

    def mint(self) -> SecretMint:
        numbers = itertools.count(1)
        return SecretMint(SECRETS, lambda size: next(numbers).to_bytes(size, "big"))

    async def hook(self, url: str, webhook_id: str = "pager", *kinds: AlertKind) -> ShownWebhook:
        new = NewWebhook(webhook_id, url, frozenset(kinds))
        return await self.of_account(lambda tx, account, act: create_webhook(tx, account, new, self.mint(), act))

    async def alert(self, count: int = 1, kind: AlertKind = AlertKind.ACCOUNT_OVERDUE) -> None:
        """Writes so many alerts, each in a transaction of its own."""
        content = AlertContent(kind, "accounts/acme", {"left_nanos": 2**60}, {"currency_code": "USD"})
        for _ in range(count):
            async with self.database.writing() as tx:
                await tx.accounts.lock("acme")
                await tell(tx, "acme", content, self.now_us)

    def sender(self, courier: Courier | None = None, chance: float = 0.0) -> DeliverySender:
        """A process that sends; another one knows nothing of it but what is in the database."""
        courier = courier or HttpCourier(allows_private=True, timeout_s=PATIENCE_S)
        return DeliverySender(
            self.database, self.clock, courier, SECRETS, pulse=Pulse(self.database, self.clock), chance=lambda: chance
        )

    async def deliveries(self, webhook: Webhook) -> list[Delivery]:
        """All deliveries to a webhook, the oldest first."""
        async with self.database.reading() as tx:
            return (await tx.deliveries.page(webhook.uid, EARLIER, 1_000))[::-1]

    async def webhook(self, webhook_id: str = "pager") -> Webhook | None:
        async with self.database.reading() as tx:
            return await tx.webhooks.find("acme", webhook_id)


def numbers_of(received: Iterable[Received]) -> list[int]:
    """The sequence numbers of messages, in their order."""
    return [int(json.loads(one.body)["data"]["sequence_number"]) for one in received]
