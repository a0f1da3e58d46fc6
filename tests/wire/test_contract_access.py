"""The rules by which the contract says who may call what: complete, and true to the requests that they are about."""

from typing import Any

import pytest
from google.protobuf.descriptor import Descriptor, FieldDescriptor, MethodDescriptor

from tallygate._access.permission import Permission
from tallygate._access.role import PERMISSIONS, Role
from tallygate._server.grpc.access_rules import MethodRule, rule_of
from tallygate.access.v1 import access_rule_pb2, permission_pb2, role_pb2
from tests.harness.wire.contract_files import methods, reference

METHODS = list(methods())
OPEN_TO_ANYONE = {"GetSignInOptions", "ExchangeToken"}
OPEN_TO_AUTHENTICATED = {"WhoAmI", "GetModel", "ListModels", "ListPrices"}


def option(method: MethodDescriptor) -> Any:
    return method.GetOptions().Extensions[access_rule_pb2.access]


def field_at(message: Descriptor, path: str) -> FieldDescriptor:
    *parents, last = path.split(".")
    for name in parents:
        nested = message.fields_by_name[name].message_type
        assert nested is not None
        message = nested
    return message.fields_by_name[last]


def rule(method: MethodDescriptor) -> MethodRule:
    found = rule_of(method.containing_service.full_name, method.name)
    assert found is not None, f"{method.full_name} says not who may call it"
    return found


@pytest.mark.parametrize("method", METHODS, ids=lambda method: method.full_name)
def test_every_rpc_says_who_may_call_it(method: MethodDescriptor) -> None:
    """By a permission, or by an audience that needs none; few are open, and they are these."""
    said = rule(method)
    if method.name in OPEN_TO_ANYONE:
        assert said.audience == access_rule_pb2.AUDIENCE_ANYONE
    elif method.name in OPEN_TO_AUTHENTICATED:
        assert said.audience == access_rule_pb2.AUDIENCE_AUTHENTICATED
    else:
        assert said.audience == access_rule_pb2.AUDIENCE_PERMITTED
        assert said.permission is not None


@pytest.mark.parametrize("method", METHODS, ids=lambda method: method.full_name)
def test_rules_name_fields_that_there_are(method: MethodDescriptor) -> None:
    """The scope is a field with a resource's name; a misspelt path would be found by the first call only."""
    said = option(method)
    if said.scope_field:
        assert reference(field_at(method.input_type, said.scope_field)), said.scope_field
    for path in (said.team_field, *(field.field for field in said.fields)):
        if path:
            assert field_at(method.input_type, path).name == path.rpartition(".")[2]


def test_what_names_an_account_has_it_as_its_scope() -> None:
    """A request with the name of what may lie in an account is judged by it, unless only the platform may."""
    unscoped = {
        method.name
        for method in METHODS
        for field in method.input_type.fields
        if reference(field) not in ("", "tallygate/Model", "tallygate/Price") and not option(method).scope_field
    }
    assert unscoped == {"CreateAccount", "ListLeases"}


def test_names_of_permissions_and_roles_are_those_of_the_contract() -> None:
    """What is judged by, and what is said on the wire."""
    assert {f"PERMISSION_{one}" for one in Permission} == set(permission_pb2.Permission.keys()) - {
        "PERMISSION_UNSPECIFIED"
    }
    assert {f"ROLE_{one}" for one in Role} == set(role_pb2.Role.keys()) - {"ROLE_UNSPECIFIED"}


def test_every_permission_is_needed_and_had() -> None:
    """A permission that no RPC needs, or that only operators have by mistake, is a rule that nobody wrote."""
    needed = {said.permission for said in map(rule, METHODS)}
    needed |= {field.permission for said in map(rule, METHODS) for field in said.fields}
    assert needed - {None} == set(Permission) - {Permission.SERVERS_INSPECT}
    of_operators = set(Permission) - set().union(*(PERMISSIONS[role] for role in Role if role is not Role.OPERATOR))
    assert of_operators == {
        Permission.ACCOUNTS_ADMINISTER,
        Permission.SERVICES_SUSPEND,
        Permission.SERVERS_INSPECT,
        Permission.PRINCIPALS_MANAGE,
    }


def test_a_method_without_a_rule_has_none() -> None:
    """Nobody may call it then; probes and tools that learn what there is are open, and looking into a server is not."""
    assert rule_of("tallygate.control.v1.AccountService", "Unwritten") is None
    assert rule_of("some.other.Service", "Method") is None
    health, channelz = rule_of("grpc.health.v1.Health", "Check"), rule_of("grpc.channelz.v1.Channelz", "GetServers")
    assert health is not None
    assert channelz is not None
    assert health.audience == access_rule_pb2.AUDIENCE_ANYONE
    assert channelz.permission is Permission.SERVERS_INSPECT
