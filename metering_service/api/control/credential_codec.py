"""Between the wire and the domain, for credentials."""

from collections.abc import Iterable, Iterator
from typing import Final

from metering_service.domain.credential import Credential, CredentialConfig, CredentialState
from tallygate._access.rights import Right, Rights
from tallygate._access.role import Role
from tallygate._access.scope import parse_scope
from tallygate._wire.enums import decode_table
from tallygate._wire.times import decode_ns
from tallygate.access.v1 import role_pb2
from tallygate.control.v1 import fleet_service_pb2

_STATES: Final = decode_table(fleet_service_pb2.CredentialState, CredentialState)
_ROLES: Final = decode_table(role_pb2.Role, Role)


def encode_credential(credential: Credential) -> fleet_service_pb2.Credential:
    """A credential as it goes out."""
    if credential.certificate_uri:
        return fleet_service_pb2.Credential(certificate_uri=credential.certificate_uri)
    token = fleet_service_pb2.TokenProof(token_id=credential.token_id, token_sha256=credential.token_sha256)
    return fleet_service_pb2.Credential(token=token)


def decode_credential_config(message: fleet_service_pb2.CredentialConfig) -> CredentialConfig:
    """What control said of a credential. A state that this program does not know opens nothing."""
    proof = message.credential
    return CredentialConfig(
        credential=Credential(proof.token.token_id, proof.token.token_sha256, proof.certificate_uri),
        state=_STATES.get(message.state, CredentialState.UNKNOWN),
        member=message.member,
        rights=Rights(tuple(_decode_rights(message.rights))),
        valid_for_ns=max(0, decode_ns(message.valid_for)) if message.HasField("valid_for") else None,
        version=message.version,
    )


def _decode_rights(messages: Iterable[role_pb2.Right]) -> Iterator[Right]:
    """Rights, without those that this program does not understand in full: they would give too much."""
    for message in messages:
        role, scope = _ROLES.get(message.role), parse_scope(message.scope)
        narrowed_role = _ROLES.get(message.narrowed_role)
        if role is None or scope is None or (message.narrowed_role and narrowed_role is None):
            continue
        yield Right(role, scope, tuple(message.node_names), narrowed_role)
