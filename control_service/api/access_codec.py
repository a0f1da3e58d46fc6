"""Bindings, principals and rights on the wire."""

from collections.abc import Iterable
from typing import Final

from control_service.api.fields import Fields
from control_service.domain.binding import Binding, Grant
from control_service.domain.member import OPERATOR, MemberKind
from control_service.domain.principal import Principal
from tallygate._access.rights import Right
from tallygate._access.role import Role
from tallygate._server.grpc.caller import Caller
from tallygate._wire.enums import encode_enum
from tallygate._wire.times import encode_timestamp
from tallygate.access.v1 import role_pb2
from tallygate.control.v1 import access_service_pb2 as pb
from tallygate.control.v1 import binding_pb2, principal_pb2

NO_ROLE: Final = role_pb2.ROLE_UNSPECIFIED


def decode_grant(fields: Fields, request: pb.CreateBindingRequest) -> Grant:
    """What a binding shall say."""
    role = fields.member("role", role_pb2.Role, request.role, Role)
    if role is None and not request.role:
        fields.refuse("role", "must be set")
    return Grant(
        scope=fields.scope("scope", request.scope),
        member=fields.principal("member", request.member),
        role=role or Role.VIEWER,
        node_names=tuple(sorted(set(request.node_names))),
    )


def decode_principal(fields: Fields, member: str) -> str:
    """A member that can be disabled."""
    fields.principal("member", member)
    if member.partition(":")[0] == MemberKind.GROUP:
        fields.refuse("member", "must not be a group; take its roles instead, or disable those who are in it")
    if member == OPERATOR:
        fields.refuse("member", "must not be the first operator; start control without --operator-token-file instead")
    return member


def encode_binding(binding: Binding) -> binding_pb2.Binding:
    """The resource."""
    grant = binding.grant
    return binding_pb2.Binding(
        name=binding.name,
        scope=grant.scope.name,
        member=grant.member,
        role=encode_enum(role_pb2.Role, grant.role),
        node_names=grant.node_names,
        creator=binding.creator,
        create_time=encode_timestamp(binding.create_us),
    )


def encode_principal(principal: Principal) -> principal_pb2.Principal:
    """The resource."""
    return principal_pb2.Principal(
        member=principal.member,
        display_name=principal.display_name,
        groups=principal.groups,
        disabled=principal.disabled,
        last_sign_in_time=encode_timestamp(principal.last_sign_in_us),
    )


def encode_rights(rights: Iterable[Right]) -> list[role_pb2.Right]:
    """What a caller may do."""
    return [
        role_pb2.Right(
            role=encode_enum(role_pb2.Role, right.role),
            scope=right.scope.name,
            node_names=right.node_names,
            narrowed_role=encode_enum(role_pb2.Role, right.narrowed_role) if right.narrowed_role else NO_ROLE,
        )
        for right in rights
    ]


def encode_caller(caller: Caller) -> pb.WhoAmIResponse:
    """Who calls."""
    return pb.WhoAmIResponse(
        member=caller.member,
        display_name=caller.display_name,
        access_token=caller.access_token,
        rights=encode_rights(caller.rights.rights),
        expire_time=encode_timestamp(caller.expire_us),
        groups=caller.groups,
    )
