"""The sender of deliveries: each is sent at least once, again after failures, and nobody waits for a slow receiver.

Any number of processes may send from one database. A delivery is taken by one conditional update, for the time of a
lease; where nobody says what came of it, another attempt follows. One webhook has one message at a time under way from
each process, so that first attempts are made in the order of the alerts; one that is tried again comes after others.
"""

import asyncio
from collections.abc import Callable, Collection
from dataclasses import replace
from typing import Final

import structlog

from control_service.domain.delivery import TEST_NUMBER, Delivery, DeliveryState, Outcome
from control_service.domain.errors import StorageUnavailableError
from control_service.domain.webhook import Webhook
from control_service.domain.webhook_secret import WebhookSecrets
from control_service.usecases.alerts.courier_port import Courier, Letter
from control_service.usecases.alerts.receiver_rest import ReceiverRest
from control_service.usecases.ports import Database, Transaction
from control_service.usecases.pulse import Pulse
from tallygate._server.clock import Clock

TICK_S = 0.2
"""Interval between two looks at what is due."""
GLANCE_AGE_MAX_NS: Final = 150_000_000
"""Maximum age of a glance that will do for it: the feed of configurations takes one every 0.1 s."""
RECEIVERS_MAX: Final = 64
"""Maximum number of webhooks that one process sends to at the same time."""
TURN_MAX: Final = 10
"""Maximum number of messages that one webhook is sent before others have their turn."""

_log = structlog.get_logger(__name__)


class DeliverySender:
    """Sends what is due."""

    def __init__(
        self,
        database: Database,
        clock: Clock,
        courier: Courier,
        secrets: WebhookSecrets,
        *,
        pulse: Pulse,
        chance: Callable[[], float],
    ) -> None:
        """`chance` gives numbers from 0 to 1, for the jitter between attempts."""
        self._database = database
        self._clock = clock
        self._courier = courier
        self._secrets = secrets
        self._pulse = pulse
        self._chance = chance
        self._rest = ReceiverRest(clock)
        self._turns: dict[str, asyncio.Task[None]] = {}
        self._last_uid = ""

    async def run(self) -> None:
        """Looks every `TICK_S`, until cancelled."""
        try:
            while True:
                try:
                    first_us = (await self._pulse.look_lately(GLANCE_AGE_MAX_NS)).first_delivery_us
                    if first_us is not None and first_us <= self._clock.now_us():
                        await self.tick()
                except StorageUnavailableError:
                    _log.debug("sender_waits")
                except Exception:  # noqa: BLE001  # logged; the next tick must come
                    _log.exception("sender_failed")
                await asyncio.sleep(TICK_S)
        finally:
            await self.stop()

    async def tick(self) -> None:
        """Begins the turns of webhooks that have something due. Raises StorageUnavailableError."""
        for uid in await self._next_due():
            turn = asyncio.create_task(self._turn(uid))
            self._turns[uid] = turn
            turn.add_done_callback(lambda _, uid=uid: self._turns.pop(uid, None))  # type: ignore[misc]  # a bound name

    async def idle(self) -> None:
        """Waits until the turns that have begun are over."""
        while self._turns:
            await asyncio.wait(self._turns.values())

    async def stop(self) -> None:
        """Breaks off the turns that have begun; what they had under way is sent again when its lease is over."""
        for turn in self._turns.values():
            turn.cancel()
        await self.idle()

    async def _next_due(self) -> Collection[str]:
        """Webhooks whose turn it is, in the order of their ids from where the last look ended."""
        room = RECEIVERS_MAX - len(self._turns)
        if room <= 0:
            return ()
        waiting = {*self._turns, *self._rest.resting()}
        limit = room + len(waiting)
        async with self._database.reading() as tx:
            found = await tx.deliveries.due_webhooks(self._clock.now_us(), self._last_uid, limit)
        chosen = [uid for uid in found if uid not in waiting][:room]
        self._last_uid = chosen[-1] if chosen and len(found) == limit else ""
        return chosen

    async def _turn(self, uid: str) -> None:
        try:
            for _ in range(TURN_MAX):
                delivery = await self._take(uid)
                if delivery is None:
                    return
                outcome = await self._attempt(delivery)
                if outcome is None or outcome.is_taken or outcome.is_refused:
                    self._rest.end(uid)
                else:
                    self._rest.begin(uid)
                    return
        except StorageUnavailableError:
            _log.debug("delivery_waits", webhook=uid)
        except Exception:  # noqa: BLE001  # logged; its lease ends, and other webhooks go on
            self._rest.begin(uid)
            _log.exception("delivery_failed", webhook=uid)

    async def _take(self, uid: str) -> Delivery | None:
        """Takes what is due first; None where nothing is, or another process was faster."""
        now_us = self._clock.now_us()
        async with self._database.writing() as tx:
            first = await tx.deliveries.first_due(uid, now_us)
            return None if first is None else await tx.deliveries.take(first, now_us)

    async def _attempt(self, delivery: Delivery) -> Outcome | None:
        """Sends a delivery that was taken, and writes down what came of it; None where there was nothing to send."""
        letter = await self._letter(delivery)
        if letter is None:
            ended = replace(delivery, state=DeliveryState.CANCELLED, next_attempt_us=None)
            async with self._database.writing() as tx:
                await tx.deliveries.finish(ended)
            return None
        outcome = await self._courier.take(letter)
        after = delivery.after(outcome, self._clock.now_us(), self._chance())
        async with self._database.writing() as tx:
            if outcome.is_gone:
                await tx.accounts.lock(delivery.account_id)
            await tx.deliveries.finish(after)
            if outcome.is_gone:
                await self._disable(tx, letter.webhook)
        if after.state is not DeliveryState.DELIVERED:
            _log.info(
                "webhook_not_taken",
                delivery=after.name,
                state=after.state.value,
                status=outcome.status,
                problem=outcome.problem.value,
            )
        return outcome

    async def _letter(self, delivery: Delivery) -> Letter | None:
        """The message; None where its webhook, or its alert, is there no more."""
        async with self._database.reading() as tx:
            webhook = await tx.webhooks.with_uid(delivery.webhook_uid)
            alert = await tx.alerts.find(delivery.account_id, delivery.alert_number)
        if webhook is None or webhook.disabled:
            return None
        if alert is None and delivery.alert_number != TEST_NUMBER:
            return None
        now_us = self._clock.now_us()
        secrets = tuple(self._secrets.secret_of(webhook.uid, salt) for salt in webhook.salts_at(now_us))
        return Letter(webhook, delivery.message_id, now_us, delivery.create_us, alert, secrets)

    async def _disable(self, tx: Transaction, sent_to: Webhook) -> None:
        """Disables a webhook whose receiver is gone, unless it has another address by now. The account is locked."""
        webhook = await tx.webhooks.with_uid(sent_to.uid)
        if webhook is None or webhook.url != sent_to.url:
            return
        await tx.webhooks.save(replace(webhook, disabled=True, gone=True, update_us=self._clock.now_us()))
        await tx.deliveries.cancel(webhook.uid)
        _log.warning("webhook_gone", webhook=webhook.name)
