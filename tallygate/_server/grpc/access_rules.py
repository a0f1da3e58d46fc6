"""The rule of each RPC, read once from its option in the contract."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, Final

from google.api import field_behavior_pb2
from google.protobuf import descriptor_pool
from google.protobuf.descriptor import Descriptor, FieldDescriptor, MethodDescriptor

from tallygate._access.permission import Permission
from tallygate._access.scope import PLATFORM, Scope
from tallygate.access.v1 import access_rule_pb2, permission_pb2

OPEN_SERVICES: Final = frozenset(
    {
        "grpc.health.v1.Health",
        "grpc.reflection.v1.ServerReflection",
        "grpc.reflection.v1alpha.ServerReflection",
    }
)
"""Services that everybody may call: probes and tools, which learn the contract and whether the server lives."""
CHANNELZ: Final = "grpc.channelz.v1.Channelz"

Read = Callable[[Any], Any]


@dataclass(frozen=True, slots=True)
class FieldRule:
    """A field that needs a permission of its own, if it is set."""

    path: str
    is_set: Callable[[Any], bool]
    permission: Permission
    on_account: bool = False


@dataclass(frozen=True, slots=True)
class MethodRule:
    """Who may call a method; AccessRule of the contract explains each."""

    method: str
    audience: "access_rule_pb2.Audience.ValueType"
    permission: Permission | None = None
    scope_path: str = ""
    scope_required: bool = False
    names: Callable[[Any], tuple[str, ...]] = lambda _: ()
    """The resource names in the request that say the scope; none where it is the platform."""
    team_id: Callable[[Any], str | None] = lambda _: None
    """The id of the team to which the resource shall belong; None where the request does not say."""
    narrowed: bool = False
    own: bool = False
    creates: bool = False
    fields: tuple[FieldRule, ...] = ()
    model_permission: Permission | None = None
    by_names_only: bool = False
    """Whether nothing else in the request but its names decides."""

    def needs(self, scope: Scope) -> Permission | None:
        """The permission that a call needs on this scope."""
        return self.model_permission if self.model_permission and scope == PLATFORM else self.permission


def rule_of(service_name: str, method_name: str) -> MethodRule | None:
    """The rule of a method; None where the contract has none for it: nobody may call it then."""
    name = f"{service_name}/{method_name}"
    if service_name in OPEN_SERVICES:
        return MethodRule(name, access_rule_pb2.AUDIENCE_ANYONE)
    if service_name == CHANNELZ:
        return MethodRule(name, access_rule_pb2.AUDIENCE_PERMITTED, Permission.SERVERS_INSPECT)
    try:
        method = descriptor_pool.Default().FindMethodByName(f"{service_name}.{method_name}")
    except KeyError:
        return None
    return _decode(name, method)


def _decode(name: str, method: MethodDescriptor) -> MethodRule | None:
    options = method.GetOptions()
    if not options.HasExtension(access_rule_pb2.access):
        return None
    rule = options.Extensions[access_rule_pb2.access]
    request = method.input_type
    return MethodRule(
        method=name,
        audience=rule.audience or access_rule_pb2.AUDIENCE_PERMITTED,
        permission=_permission(rule.permission) if rule.permission else None,
        scope_path=rule.scope_field,
        scope_required=bool(rule.scope_field) and _is_required(_field(request, rule.scope_field)),
        names=_names(rule.scope_field) if rule.scope_field else lambda _: (),
        team_id=_team_id(request, rule.team_field) if rule.team_field else lambda _: None,
        narrowed=rule.narrowed,
        own=rule.own,
        creates=rule.creates,
        fields=tuple(
            FieldRule(one.field, _is_set(request, one.field), _permission(one.permission), one.on_account)
            for one in rule.fields
        ),
        model_permission=_permission(rule.model_permission) if rule.model_permission else None,
        by_names_only=not (rule.team_field or rule.fields),
    )


def _permission(number: "permission_pb2.Permission.ValueType") -> Permission:
    return Permission(permission_pb2.Permission.Name(number).removeprefix("PERMISSION_"))


def _names(path: str) -> Callable[[Any], tuple[str, ...]]:
    """Reads a text, or several; texts left empty are none."""
    *parents, last = path.split(".")

    def read(request: Any) -> tuple[str, ...]:
        value = getattr(_parent(request, parents), last)
        return tuple(filter(None, (value,) if isinstance(value, str) else value))

    return read


def _team_id(request: Descriptor, path: str) -> Callable[[Any], str | None]:
    """Reads a team's id; a field without presence is set where it is not empty."""
    is_set, (*parents, last) = _is_set(request, path), path.split(".")
    return lambda message: getattr(_parent(message, parents), last) if is_set(message) else None


def _is_set(request: Descriptor, path: str) -> Callable[[Any], bool]:
    *parents, last = path.split(".")
    has_presence = _field(request, path).has_presence

    def read(message: Any) -> bool:
        parent = _parent(message, parents)
        return parent.HasField(last) if has_presence else bool(getattr(parent, last))

    return read


def _parent(message: Any, parents: list[str]) -> Any:
    for name in parents:
        message = getattr(message, name)
    return message


def _field(request: Descriptor, path: str) -> FieldDescriptor:
    *_, field = _fields(request, path)
    return field


def _fields(message: Descriptor, path: str) -> Iterator[FieldDescriptor]:
    for name in path.split("."):
        field = message.fields_by_name[name]
        yield field
        if field.message_type is not None:
            message = field.message_type


def _is_required(field: FieldDescriptor) -> bool:
    options: Any = field.GetOptions()
    return field_behavior_pb2.REQUIRED in options.Extensions[field_behavior_pb2.field_behavior]
