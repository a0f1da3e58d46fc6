"""Webhooks and their deliveries on the wire."""

from typing import Final
from urllib.parse import urlsplit

from control_service.api.alert_codec import decode_kinds
from control_service.api.fields import INT64_MAX, Fields
from control_service.domain.delivery import TEST_NUMBER, Delivery
from control_service.domain.names import alert_name
from control_service.domain.public_address import is_public, may_be_private, parse_address
from control_service.domain.webhook import OVERLAP_US_DEFAULT, OVERLAP_US_MAX, Webhook
from control_service.usecases.alerts.replay import ReplayFrom
from control_service.usecases.alerts.webhooks import NewWebhook, SecretRotation, WebhookUpdate
from tallygate._web_address import address_problem
from tallygate._wire.enums import encode_enum
from tallygate._wire.times import encode_timestamp
from tallygate.control.v1 import alert_pb2, alert_service_pb2
from tallygate.control.v1 import webhook_pb2 as pb

_PLAIN: Final = "http://"
_SAFE: Final = "https://"


def decode_new(fields: Fields, request: alert_service_pb2.CreateWebhookRequest, *, allows_private: bool) -> NewWebhook:
    """A webhook to be created; notes violations in `fields`."""
    _, webhook_id = fields.webhook("name", request.name)
    _check_url(fields, request.url, allows_private=allows_private)
    kinds = decode_kinds(fields, "kinds.kinds", request.kinds.kinds)
    return NewWebhook(webhook_id, request.url, kinds, request.disabled)


def decode_update(
    fields: Fields, request: alert_service_pb2.UpdateWebhookRequest, *, allows_private: bool
) -> WebhookUpdate:
    """What shall change; notes violations in `fields`."""
    if request.HasField("url"):
        _check_url(fields, request.url, allows_private=allows_private)
    has_kinds = request.HasField("kinds")
    return WebhookUpdate(
        url=request.url if request.HasField("url") else None,
        kinds=decode_kinds(fields, "kinds.kinds", request.kinds.kinds) if has_kinds else None,
        disabled=request.disabled if request.HasField("disabled") else None,
    )


def decode_rotation(fields: Fields, request: alert_service_pb2.RotateWebhookSecretRequest) -> SecretRotation:
    """A webhook that shall have another secret, and no overlap ends the one before at once; notes violations."""
    _, webhook_id = fields.webhook("name", request.name)
    if not request.HasField("overlap"):
        return SecretRotation(webhook_id, OVERLAP_US_DEFAULT)
    return SecretRotation(webhook_id, fields.overlap_us("overlap", request.overlap, OVERLAP_US_MAX))


def decode_replay(fields: Fields, request: alert_service_pb2.ReplayAlertsRequest) -> ReplayFrom:
    """From where alerts shall be sent again; notes violations in `fields`."""
    number = fields.number("first_sequence_number", request.first_sequence_number, 0, INT64_MAX)
    start_us = fields.moment_us("start_time", request.start_time) if request.HasField("start_time") else 0
    return ReplayFrom(number, start_us)


def encode_webhook(webhook: Webhook) -> pb.Webhook:
    """A webhook without its secret."""
    kinds = [encode_enum(alert_pb2.AlertKind, kind) for kind in sorted(webhook.kinds)]
    return pb.Webhook(
        name=webhook.name,
        url=webhook.url,
        kinds=alert_pb2.AlertKindList(kinds=kinds),
        disabled=webhook.disabled,
        gone=webhook.gone,
        previous_secret_expire_time=encode_timestamp(webhook.previous_until_us),
        create_time=encode_timestamp(webhook.create_us),
        update_time=encode_timestamp(webhook.update_us),
    )


def encode_delivery(delivery: Delivery) -> pb.Delivery:
    """How far a delivery is."""
    is_test = delivery.alert_number == TEST_NUMBER
    return pb.Delivery(
        name=delivery.name,
        alert="" if is_test else alert_name(delivery.account_id, delivery.alert_number),
        state=encode_enum(pb.DeliveryState, delivery.state),
        create_time=encode_timestamp(delivery.create_us),
        attempt_count=delivery.attempt_count,
        last_attempt_time=encode_timestamp(delivery.last_attempt_us),
        next_attempt_time=encode_timestamp(delivery.next_attempt_us),
        last_status=delivery.last_status,
        last_problem=encode_enum(pb.DeliveryProblem, delivery.last_problem),
    )


def _check_url(fields: Fields, url: str, *, allows_private: bool) -> None:
    """Notes what is wrong with an address. A name is looked up for each attempt, and its addresses are judged then."""
    if not url:
        fields.refuse("url", "must be set")
        return
    if url.startswith(_PLAIN) and not allows_private:
        fields.refuse("url", f"must begin with {_SAFE}")
        return
    problem = address_problem(_SAFE + url.removeprefix(_PLAIN) if url.startswith(_PLAIN) else url)
    if problem:
        fields.refuse("url", problem)
        return
    address = parse_address(urlsplit(url).hostname or "")
    if address is not None and not (may_be_private(address) if allows_private else is_public(address)):
        fields.refuse("url", "must lead to a host that is reached over the internet")
