"""Tokens and service accounts on the wire."""

from google.protobuf.duration_pb2 import Duration

from control_service.api.access_codec import NO_ROLE
from control_service.api.fields import Fields
from control_service.domain.access_token import (
    OVERLAP_US_DEFAULT,
    OVERLAP_US_MAX,
    VALID_FOR_US_MAX,
    VALID_FOR_US_MIN,
    AccessToken,
)
from control_service.domain.narrowing import Narrowing
from control_service.usecases.access.oidc_port import SignInOption
from control_service.usecases.access.service_accounts import ServiceAccountView
from control_service.usecases.access.tokens import NewToken, Rotation, TokenKey
from tallygate._access.role import Role
from tallygate._server.clock import US_PER_SECOND
from tallygate._wire.enums import encode_enum
from tallygate._wire.times import encode_timestamp
from tallygate.access.v1 import role_pb2
from tallygate.control.v1 import access_token_pb2, service_account_pb2
from tallygate.control.v1 import token_service_pb2 as pb


def decode_new_token(fields: Fields, request: pb.CreateAccessTokenRequest) -> NewToken:
    """The token that shall be made."""
    if request.service_account:
        fields.service_account("service_account", request.service_account)
    scope = fields.scope("narrowed_scope", request.narrowed_scope) if request.narrowed_scope else None
    return NewToken(
        service_account=request.service_account,
        display_name=fields.text("display_name", request.display_name),
        valid_for_us=_valid_for_us(fields, request.valid_for) if request.HasField("valid_for") else None,
        narrowing=Narrowing(fields.member("narrowed_role", role_pb2.Role, request.narrowed_role, Role), scope),
    )


def decode_token_key(fields: Fields, name: str) -> TokenKey:
    """The token of this name."""
    return TokenKey(*fields.access_token("name", name))


def decode_rotation(fields: Fields, request: pb.RotateAccessTokenRequest) -> Rotation:
    """Which token shall have another secret; an overlap of zero ends the one before at once."""
    overlap_us = OVERLAP_US_DEFAULT
    if request.HasField("overlap"):
        overlap_us = fields.overlap_us("overlap", request.overlap, OVERLAP_US_MAX)
    return Rotation(decode_token_key(fields, request.name), overlap_us)


def _valid_for_us(fields: Fields, valid_for: Duration) -> int:
    length_us = fields.duration_us("valid_for", valid_for, VALID_FOR_US_MAX)
    if 0 < length_us < VALID_FOR_US_MIN:
        fields.refuse("valid_for", f"must be at least {VALID_FOR_US_MIN // US_PER_SECOND} s")
    return length_us


def encode_token(token: AccessToken) -> access_token_pb2.AccessToken:
    """The resource; nothing in it tells of a secret."""
    role, scope = token.narrowing.role, token.narrowing.scope
    return access_token_pb2.AccessToken(
        name=token.name,
        owner=token.owner,
        display_name=token.display_name,
        narrowed_role=encode_enum(role_pb2.Role, role) if role else NO_ROLE,
        narrowed_scope=scope.name if scope else "",
        expire_time=encode_timestamp(token.expire_us),
        disabled=token.disabled,
        signed_in=token.signed_in,
        last_use_time=encode_timestamp(token.last_use_day_us),
        previous_secret_expire_time=encode_timestamp(token.previous_secret_expire_us),
        create_time=encode_timestamp(token.create_us),
    )


def encode_service_account(view: ServiceAccountView) -> service_account_pb2.ServiceAccount:
    """The resource."""
    known = view.service_account
    return service_account_pb2.ServiceAccount(
        name=known.name,
        display_name=known.display_name,
        disabled=view.disabled,
        creator=known.creator,
        create_time=encode_timestamp(known.create_us),
    )


def encode_issuer(option: SignInOption) -> pb.SignInIssuer:
    """How people sign in with an issuer."""
    return pb.SignInIssuer(
        issuer=option.issuer,
        client_id=option.client_id,
        authorization_endpoint=option.authorization_endpoint,
        token_endpoint=option.token_endpoint,
        scopes=option.scopes,
    )
