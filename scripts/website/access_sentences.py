"""Access rules of the contract as sentences."""

from collections.abc import Iterator
from typing import Any

from google.protobuf.descriptor_pb2 import MethodDescriptorProto

from tallygate.access.v1 import access_rule_pb2, permission_pb2


def access_sentence(method: MethodDescriptorProto) -> str:
    """Who may call an RPC, by its access rule."""
    options: Any = method.options
    return " ".join(_sentences(options.Extensions[access_rule_pb2.access]))


def _sentences(rule: access_rule_pb2.AccessRule) -> Iterator[str]:
    if rule.audience == access_rule_pb2.AUDIENCE_ANYONE:
        yield "Everybody may call it."
    elif rule.audience == access_rule_pb2.AUDIENCE_AUTHENTICATED:
        yield "Everybody who has proved who they are may call it."
    else:
        yield f"Needs {_permission(rule.permission)} on {_scope(rule)}."
    if rule.narrowed:
        yield "A caller with that permission on a part of it sees that part."
    if rule.own:
        yield "What is the caller's own needs no permission."
    if rule.model_permission:
        yield f"For a model, or what is in no account, it is {_permission(rule.model_permission)} on the platform."
    for field in rule.fields:
        yield f"To set `{field.field}`, {_permission(field.permission)} is needed, too."


def _scope(rule: access_rule_pb2.AccessRule) -> str:
    if rule.creates:
        return f"the team in `{rule.team_field}`, or else the account in `{rule.scope_field}`"
    team = f", and on the team in `{rule.team_field}` where it is set" if rule.team_field else ""
    return f"what `{rule.scope_field}` names{team}" if rule.scope_field else f"the platform{team}"


def _permission(number: "permission_pb2.Permission.ValueType") -> str:
    return f"`{permission_pb2.Permission.Name(number).removeprefix('PERMISSION_')}`"
