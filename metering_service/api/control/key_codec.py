"""Between the wire and the domain, for API keys and models."""

from typing import Final

from metering_service.domain.api_key import NO_NAMES, NO_ROUTES, ApiKey, KeyState, ModelMeaning
from metering_service.domain.network import parse_network
from tallygate._wire.enums import decode_table
from tallygate._wire.times import decode_ns
from tallygate.control.v1 import api_key_config_pb2

_STATES: Final = decode_table(api_key_config_pb2.ApiKeyState, KeyState)


def decode_key(message: api_key_config_pb2.ApiKeyConfig) -> ApiKey:
    """What control said of an API key. A state that this program does not know opens nothing."""
    routes = {route.model: route.service for route in message.routes}
    return ApiKey(
        sha256=message.key_sha256,
        state=_STATES.get(message.state, KeyState.REVOKED),
        name=message.key,
        uid=message.uid,
        team=message.team,
        # Nothing is shared by all keys that have none.
        services=None if message.all_services else frozenset(message.services) or NO_NAMES,
        models=None if message.all_models else frozenset(message.models) or NO_NAMES,
        routes=routes or NO_ROUTES,
        networks=tuple(map(parse_network, message.networks)),
        valid_for_ns=max(0, decode_ns(message.valid_for)) if message.HasField("valid_for") else None,
        version=message.version,
    )


def decode_model(message: api_key_config_pb2.ModelConfig) -> ModelMeaning:
    """What control said of a model's name."""
    return ModelMeaning(message.text, message.model, message.version)
