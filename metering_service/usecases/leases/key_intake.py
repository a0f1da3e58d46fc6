"""The intake of API keys and models from the control service, and the end of a key's time."""

from metering_service.domain.api_key import ApiKey, ModelMeaning
from metering_service.domain.decision import Reason, deny
from metering_service.usecases.keys.followed_key import FollowedKey
from metering_service.usecases.lookups.parked import retry
from metering_service.usecases.lookups.service_choice import go_on
from metering_service.usecases.node import Node
from metering_service.usecases.reports.cutting import cut
from metering_service.usecases.reports.key_check import ended


def take_key(node: Node, key: ApiKey) -> None:
    """Apply what control says of a key: tell its open requests of a stop, decide on what waited for it."""
    followed = node.keys.take(key)
    if followed is None:
        return
    _tell_requests(node, followed)
    services, followed.services = followed.services, None
    for service in services or ():
        retry(node, service)
    go_on(node, followed)


def take_model(node: Node, meaning: ModelMeaning) -> None:
    """Apply what control says of a model's name: decide on what waited for it."""
    followed = node.keys.take_model(meaning)
    if followed is not None:
        go_on(node, followed)


def expire_keys(node: Node) -> None:
    """Keys whose time is over open nothing any more: their open requests are told to stop."""
    for followed in node.keys.take_expired():
        _tell_requests(node, followed)


def _tell_requests(node: Node, followed: FollowedKey) -> None:
    for request in list(followed.requests or ()):
        service = node.services.get(request.service)
        if service is None or service.config is None:
            continue
        request.leave_fast_road()
        if ended(node, service.config, request) is None:
            if service.config.refusal() is None:
                request.stop_sent = False
        elif not request.stop_sent and request.session is not None:
            request.stop_sent = True
            version = service.config.version
            denial = deny(request.request_id, Reason.CREDENTIAL_INVALID, config_version=version)
            request.session.order(cut(node, request, denial))
