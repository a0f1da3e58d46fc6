"""API keys and models' names that nodes follow, on the wire."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Final

from control_service.api.fields import Fields
from control_service.api.key_codec import encode_routes, scope_values
from control_service.domain.api_key import KeyState
from control_service.domain.names import model_name
from control_service.usecases.fleet.key_configs import ApiKeyConfig, ModelConfig
from tallygate._wire.enums import encode_enum
from tallygate._wire.times import encode_duration
from tallygate.control.v1 import api_key_config_pb2
from tallygate.control.v1 import fleet_service_pb2 as pb

SUBSCRIBE_MAX: Final = 1_000
MODEL_BYTES_MAX: Final = 256
_SHA256_BYTES: Final = 32


@dataclass(frozen=True, slots=True)
class KeySubscription:
    """API keys by SHA-256, and models' names."""

    hashes: Sequence[bytes] = field(repr=False)
    models: Sequence[str]


def decode_keys(message: pb.ConfigSubscription) -> tuple[KeySubscription, KeySubscription]:
    """What to follow, and what to follow no longer. Raises InvalidRequestError."""
    with Fields() as fields:
        for name in ("subscribe_api_keys", "subscribe_models"):
            if len(getattr(message, name)) > SUBSCRIBE_MAX:
                fields.refuse(f"subscription.{name}", f"must not be more than {SUBSCRIBE_MAX}")
        for name in ("subscribe_api_keys", "unsubscribe_api_keys"):
            if any(len(sha256) != _SHA256_BYTES for sha256 in getattr(message, name)):
                fields.refuse(f"subscription.{name}", f"must have {_SHA256_BYTES} bytes each")
        if any(not 0 < len(text.encode()) <= MODEL_BYTES_MAX for text in message.subscribe_models):
            fields.refuse("subscription.subscribe_models", f"must have 1 to {MODEL_BYTES_MAX} bytes each")
    return (
        KeySubscription(message.subscribe_api_keys, message.subscribe_models),
        KeySubscription(message.unsubscribe_api_keys, message.unsubscribe_models),
    )


def encode_api_key(config: ApiKeyConfig, now_us: int) -> api_key_config_pb2.ApiKeyConfig:
    """What an API key opens, said at this moment."""
    opens, key = config.opens, config.opens.key
    state = encode_enum(api_key_config_pb2.ApiKeyState, opens.state)
    if key is None:
        return api_key_config_pb2.ApiKeyConfig(key_sha256=config.sha256, state=state, version=config.version)
    if opens.state is not KeyState.VALID:
        return api_key_config_pb2.ApiKeyConfig(
            key_sha256=config.sha256, state=state, key=key.name, uid=key.uid, team=key.team, version=config.version
        )
    return api_key_config_pb2.ApiKeyConfig(
        key_sha256=config.sha256,
        state=state,
        key=key.name,
        uid=key.uid,
        team=key.team,
        **scope_values(key),
        routes=encode_routes(key),
        networks=key.networks,
        valid_for=encode_duration(None if opens.expire_us is None else max(0, opens.expire_us - now_us)),
        version=config.version,
    )


def encode_model(config: ModelConfig) -> api_key_config_pb2.ModelConfig:
    """Which model a name means."""
    model = model_name(config.model_id) if config.model_id else ""
    return api_key_config_pb2.ModelConfig(text=config.text, model=model, version=config.version)
