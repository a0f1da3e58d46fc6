"""AlertService."""

from collections.abc import Awaitable, Callable

from google.protobuf.message import Message
from typing_extensions import override

from control_service.api import alert_codec, webhook_codec
from control_service.api.asking import change_with_secret
from control_service.api.calls import Calls, Context, Incoming
from control_service.api.fields import INT64_MAX, Fields
from control_service.api.paging import decode_page
from control_service.domain.account import Account
from control_service.domain.webhook import Webhook
from control_service.usecases.alerts.alert_settings import update_alert_settings
from control_service.usecases.alerts.replay import replay_alerts
from control_service.usecases.alerts.webhooks import (
    SecretMint,
    ShownWebhook,
    create_webhook,
    delete_webhook,
    get_webhook,
    rotate_secret,
    send_test,
    update_webhook,
)
from control_service.usecases.idempotent_call import Act
from control_service.usecases.ports import Database, Transaction
from tallygate._server.grpc.paging import encode_page
from tallygate.control.v1 import alert_service_pb2 as pb
from tallygate.control.v1 import alert_service_pb2_grpc


class AlertServicer(alert_service_pb2_grpc.AlertServiceServicer):
    """Alerts of accounts and their webhooks. A secret is in the answer to the call that made it, and nowhere else."""

    def __init__(self, database: Database, calls: Calls, mint: SecretMint, *, allows_private: bool) -> None:
        """`allows_private`: webhooks may be in private networks, and without TLS."""
        self._database = database
        self._calls = calls
        self._mint = mint
        self._allows_private = allows_private

    @override
    async def ListAlerts(self, request: pb.ListAlertsRequest, context: Context) -> pb.ListAlertsResponse:
        with Fields() as fields:
            wanted = alert_codec.decode_filter(fields, request)
            (before,), limit = decode_page(fields, request, (INT64_MAX,))
        async with self._database.reading() as tx:
            await tx.accounts.get(wanted.account_id)
            found = await tx.alerts.page(wanted, before, limit + 1)
        page, token = encode_page(request, found, limit, alert_codec.encode_alert, lambda one: (one.number,))
        return pb.ListAlertsResponse(alerts=page, next_page_token=token)

    @override
    async def GetAlertSettings(
        self, request: pb.GetAlertSettingsRequest, context: Context
    ) -> pb.GetAlertSettingsResponse:
        with Fields() as fields:
            account_id = fields.account("account", request.account)
        async with self._database.reading() as tx:
            account = await tx.accounts.get(account_id)
        return pb.GetAlertSettingsResponse(settings=alert_codec.encode_settings(account))

    @override
    async def UpdateAlertSettings(
        self, request: pb.UpdateAlertSettingsRequest, context: Context
    ) -> pb.UpdateAlertSettingsResponse:
        with Fields() as fields:
            account_id = fields.account("account", request.account)
            update = alert_codec.decode_settings(fields, request)
        response = await self._calls.of_account(
            Incoming(request, context),
            account_id,
            lambda tx, account, act: update_alert_settings(tx, account, update, act),
            lambda account: pb.UpdateAlertSettingsResponse(settings=alert_codec.encode_settings(account)),
        )
        return pb.UpdateAlertSettingsResponse.FromString(response)

    @override
    async def CreateWebhook(self, request: pb.CreateWebhookRequest, context: Context) -> pb.CreateWebhookResponse:
        with Fields() as fields:
            account_id, _ = fields.webhook("name", request.name)
            new = webhook_codec.decode_new(fields, request, allows_private=self._allows_private)
        response, secret = await self._with_secret(
            Incoming(request, context),
            account_id,
            lambda tx, account, act: create_webhook(tx, account, new, self._mint, act),
            lambda made: pb.CreateWebhookResponse(webhook=webhook_codec.encode_webhook(made), secret_lost=True),
        )
        answer = pb.CreateWebhookResponse.FromString(response)
        if secret:
            answer.secret, answer.secret_lost = secret, False
        return answer

    @override
    async def ListWebhooks(self, request: pb.ListWebhooksRequest, context: Context) -> pb.ListWebhooksResponse:
        with Fields() as fields:
            account_id = fields.account("account", request.account)
            (after,), limit = decode_page(fields, request, ("",))
        async with self._database.reading() as tx:
            await tx.accounts.get(account_id)
            found = [one for one in await tx.webhooks.of_account(account_id) if one.webhook_id > after]
        page, token = encode_page(
            request, found[: limit + 1], limit, webhook_codec.encode_webhook, lambda one: (one.webhook_id,)
        )
        return pb.ListWebhooksResponse(webhooks=page, next_page_token=token)

    @override
    async def UpdateWebhook(self, request: pb.UpdateWebhookRequest, context: Context) -> pb.UpdateWebhookResponse:
        with Fields() as fields:
            account_id, webhook_id = fields.webhook("name", request.name)
            update = webhook_codec.decode_update(fields, request, allows_private=self._allows_private)
        response = await self._calls.of_account(
            Incoming(request, context),
            account_id,
            lambda tx, account, act: update_webhook(tx, account, webhook_id, update, act),
            lambda webhook: pb.UpdateWebhookResponse(webhook=webhook_codec.encode_webhook(webhook)),
        )
        return pb.UpdateWebhookResponse.FromString(response)

    @override
    async def RotateWebhookSecret(
        self, request: pb.RotateWebhookSecretRequest, context: Context
    ) -> pb.RotateWebhookSecretResponse:
        with Fields() as fields:
            account_id, _ = fields.webhook("name", request.name)
            rotation = webhook_codec.decode_rotation(fields, request)
        response, secret = await self._with_secret(
            Incoming(request, context),
            account_id,
            lambda tx, account, act: rotate_secret(tx, account, rotation, self._mint, act),
            lambda made: pb.RotateWebhookSecretResponse(webhook=webhook_codec.encode_webhook(made), secret_lost=True),
        )
        answer = pb.RotateWebhookSecretResponse.FromString(response)
        if secret:
            answer.secret, answer.secret_lost = secret, False
        return answer

    @override
    async def DeleteWebhook(self, request: pb.DeleteWebhookRequest, context: Context) -> pb.DeleteWebhookResponse:
        with Fields() as fields:
            account_id, webhook_id = fields.webhook("name", request.name)
        response = await self._calls.of_account(
            Incoming(request, context),
            account_id,
            lambda tx, account, _: delete_webhook(tx, account, webhook_id),
            lambda webhook: pb.DeleteWebhookResponse(webhook=webhook_codec.encode_webhook(webhook)),
        )
        return pb.DeleteWebhookResponse.FromString(response)

    @override
    async def TestWebhook(self, request: pb.TestWebhookRequest, context: Context) -> pb.TestWebhookResponse:
        with Fields() as fields:
            account_id, webhook_id = fields.webhook("name", request.name)
        response = await self._calls.of_account(
            Incoming(request, context),
            account_id,
            lambda tx, account, act: send_test(tx, account, webhook_id, act),
            lambda delivery: pb.TestWebhookResponse(delivery=webhook_codec.encode_delivery(delivery)),
        )
        return pb.TestWebhookResponse.FromString(response)

    @override
    async def ListDeliveries(self, request: pb.ListDeliveriesRequest, context: Context) -> pb.ListDeliveriesResponse:
        with Fields() as fields:
            account_id, webhook_id = fields.webhook("webhook", request.webhook)
            before, limit = decode_page(fields, request, (INT64_MAX, ""))
        async with self._database.reading() as tx:
            webhook = await get_webhook(tx, account_id, webhook_id)
            found = await tx.deliveries.page(webhook.uid, before, limit + 1)
        page, token = encode_page(
            request, found, limit, webhook_codec.encode_delivery, lambda one: (one.create_us, one.message_id)
        )
        return pb.ListDeliveriesResponse(deliveries=page, next_page_token=token)

    @override
    async def ReplayAlerts(self, request: pb.ReplayAlertsRequest, context: Context) -> pb.ReplayAlertsResponse:
        with Fields() as fields:
            account_id, webhook_id = fields.webhook("webhook", request.webhook)
            begin = webhook_codec.decode_replay(fields, request)
        response = await self._calls.of_account(
            Incoming(request, context),
            account_id,
            lambda tx, account, act: replay_alerts(tx, account, webhook_id, begin, act),
            lambda replayed: pb.ReplayAlertsResponse(
                alert_count=replayed.alert_count, next_sequence_number=replayed.next_number
            ),
        )
        return pb.ReplayAlertsResponse.FromString(response)

    async def _with_secret(
        self,
        incoming: Incoming,
        account_id: str,
        change: Callable[[Transaction, Account, Act], Awaitable[ShownWebhook]],
        encode: Callable[[Webhook], Message],
    ) -> tuple[bytes, str]:
        def encode_both(shown: ShownWebhook) -> tuple[Message, str]:
            return encode(shown.webhook), shown.secret

        return await change_with_secret(
            lambda encoded: self._calls.of_account(incoming, account_id, change, encoded), encode_both
        )
