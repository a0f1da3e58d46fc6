"""Credentials that nodes follow, on the wire."""

import re
from typing import Final

from control_service.api.fields import Fields
from control_service.domain.access_token import CredentialState
from control_service.domain.member import CERTIFICATE_URI_BYTES_MAX
from control_service.usecases.fleet.credential_lookup import CredentialConfig, Shown
from control_service.usecases.resolve_credential import Certificate
from tallygate._access.rights import Right
from tallygate._access.token_text import ShownToken
from tallygate._wire.enums import encode_enum
from tallygate._wire.times import encode_duration
from tallygate.access.v1 import role_pb2
from tallygate.control.v1 import fleet_service_pb2 as pb

SUBSCRIBE_MAX: Final = 1_000
_TOKEN_ID: Final = re.compile(r"[a-z2-7]{24}")
_SHA256_BYTES: Final = 32


def decode_credentials(message: pb.ConfigSubscription) -> tuple[list[Shown], list[Shown]]:
    """Credentials to follow, and credentials to follow no longer. Raises InvalidRequestError."""
    with Fields() as fields:
        if len(message.subscribe_credentials) > SUBSCRIBE_MAX:
            fields.refuse("subscription.subscribe_credentials", f"must not be more than {SUBSCRIBE_MAX} credentials")
        follow, unfollow = (
            [
                _decode_credential(fields, f"subscription.{name}[{index}].", credential)
                for index, credential in enumerate(getattr(message, name))
            ]
            for name in ("subscribe_credentials", "unsubscribe_credentials")
        )
    return follow, unfollow


def _decode_credential(fields: Fields, path: str, message: pb.Credential) -> Shown:
    if message.WhichOneof("proof") == "certificate_uri":
        if not 0 < len(message.certificate_uri.encode()) <= CERTIFICATE_URI_BYTES_MAX:
            fields.refuse(f"{path}certificate_uri", f"must have 1 to {CERTIFICATE_URI_BYTES_MAX} bytes")
        return Certificate(message.certificate_uri)
    token = message.token
    if _TOKEN_ID.fullmatch(token.token_id) is None:
        fields.refuse(f"{path}token.token_id", f"must be {_TOKEN_ID.pattern}")
    if len(token.token_sha256) != _SHA256_BYTES:
        fields.refuse(f"{path}token.token_sha256", f"must have {_SHA256_BYTES} bytes")
    return ShownToken(token.token_id, token.token_sha256)


def encode_credential(config: CredentialConfig, now_us: int) -> pb.CredentialConfig:
    """What a credential opens, said at this moment."""
    shown, opens = config.shown, config.opens
    is_valid = opens.state is CredentialState.VALID
    expire_us = opens.expire_us if is_valid else None
    return pb.CredentialConfig(
        credential=pb.Credential(certificate_uri=shown.uri)
        if isinstance(shown, Certificate)
        else pb.Credential(token=pb.TokenProof(token_id=shown.token_id, token_sha256=shown.sha256)),
        state=encode_enum(pb.CredentialState, opens.state),
        member=opens.member if is_valid else "",
        rights=[_encode_right(right) for right in opens.rights.rights],
        valid_for=encode_duration(None if expire_us is None else max(0, expire_us - now_us)),
        version=config.version,
    )


def _encode_right(right: Right) -> role_pb2.Right:
    return role_pb2.Right(
        role=encode_enum(role_pb2.Role, right.role),
        scope=right.scope.name,
        node_names=right.node_names,
        narrowed_role=encode_enum(role_pb2.Role, right.narrowed_role)
        if right.narrowed_role
        else role_pb2.ROLE_UNSPECIFIED,
    )
