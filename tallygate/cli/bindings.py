"""`tallygate binding` and `tallygate member`: who has which role where."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated

import typer

from tallygate.access.v1 import role_pb2
from tallygate.cli.console import out, print_json, print_list
from tallygate.cli.names import member_name, scope_name
from tallygate.cli.pages import all_pages
from tallygate.cli.rpc import (
    DEFAULT_CONTROL,
    TIMEOUT_S,
    ControlOption,
    CsvOption,
    JsonOption,
    KeyOption,
    control_channel,
    fail,
    key_or_new,
)
from tallygate.cli.show_access import binding_table, role_text
from tallygate.control.v1 import access_service_pb2, access_service_pb2_grpc, binding_pb2

app = typer.Typer(help="Roles: who has which on which scope.", no_args_is_help=True)
members = typer.Typer(help="Members of an account or of a team: who has a role there.", no_args_is_help=True)

_Stub = access_service_pb2_grpc.AccessServiceStub

Role = StrEnum(  # type: ignore[misc]  # made from the contract, so that a role is never missing here
    "Role", {role_text(number): role_text(number) for number in role_pb2.Role.values() if number}
)
ROLES = {role_text(number): number for number in role_pb2.Role.values()}

MemberArgument = Annotated[
    str,
    typer.Argument(
        metavar="MEMBER",
        help="person:ISSUER#SUBJECT, group:ISSUER#GROUP, serviceAccount:NAME or certificate:URI",
        parser=member_name,
    ),
]
PlaceArgument = Annotated[
    str, typer.Argument(metavar="PLACE", help="acme, or acme/search for a team of it", parser=scope_name)
]
RoleOption = Annotated[Role, typer.Option(help="The role.")]


@app.command("create")
def create_binding(
    member: MemberArgument,
    *,
    role: RoleOption,
    scope: Annotated[
        str, typer.Option(metavar="SCOPE", help="platform, acme, or acme/search for a team of it", parser=scope_name)
    ],
    node_name: Annotated[
        list[str] | None,
        typer.Option(metavar="NAME", help="Of the role node: a node's name, or a prefix with *; repeatable."),
    ] = None,
    control: ControlOption = DEFAULT_CONTROL,
    idempotency_key: KeyOption = "",
    json: JsonOption = False,
) -> None:
    """Gives a member a role on a scope."""
    request = access_service_pb2.CreateBindingRequest(
        scope=scope, member=member, role=ROLES[str(role)], node_names=node_name, idempotency_key=idempotency_key
    )
    _give(request, control, json=json)


@app.command("list")
def list_bindings(
    scope: Annotated[
        str, typer.Argument(metavar="SCOPE", help="acme, or acme/search for a team of it; without it, all")
    ] = "",
    *,
    member: Annotated[str, typer.Option(help="Only this member's.")] = "",
    control: ControlOption = DEFAULT_CONTROL,
    json: JsonOption = False,
    csv: CsvOption = False,
) -> None:
    """Lists who has which role on a scope and within it."""
    request = access_service_pb2.ListBindingsRequest(
        scope=scope_name(scope), member=member_name(member) if member else ""
    )
    with control_channel(control) as channel:
        found = all_pages(_Stub(channel).ListBindings, request, "bindings")
        print_list(found, lambda: binding_table(found.bindings), json=json, csv=csv)


@app.command("delete")
def delete_binding(
    binding: Annotated[str, typer.Argument(metavar="BINDING", help="Its name, as `binding list` shows it")],
    *,
    control: ControlOption = DEFAULT_CONTROL,
    idempotency_key: KeyOption = "",
    json: JsonOption = False,
) -> None:
    """Takes a role away, within a second on every connected node."""
    request = access_service_pb2.DeleteBindingRequest(name=binding, idempotency_key=key_or_new(idempotency_key))
    with control_channel(control) as channel:
        _print([_Stub(channel).DeleteBinding(request, timeout=TIMEOUT_S).binding], json=json)


@members.command("add")
def add_member(
    place: PlaceArgument,
    member: MemberArgument,
    *,
    role: RoleOption,
    control: ControlOption = DEFAULT_CONTROL,
    idempotency_key: KeyOption = "",
    json: JsonOption = False,
) -> None:
    """Gives somebody a role in an account or a team."""
    request = access_service_pb2.CreateBindingRequest(
        scope=place, member=member, role=ROLES[str(role)], idempotency_key=idempotency_key
    )
    _give(request, control, json=json)


@members.command("list")
def list_members(place: PlaceArgument, *, control: ControlOption = DEFAULT_CONTROL, json: JsonOption = False) -> None:
    """Lists who has a role in an account, its teams included, or in a team."""
    list_bindings(place, control=control, json=json)


@members.command("remove")
def remove_member(
    place: PlaceArgument,
    member: MemberArgument,
    *,
    role: Annotated[
        Role | None, typer.Option(help="Only this role; all that the member has there if left out.")
    ] = None,
    control: ControlOption = DEFAULT_CONTROL,
    json: JsonOption = False,
) -> None:
    """Takes the roles that somebody has in an account or a team; those in an account's teams are their own."""
    request = access_service_pb2.ListBindingsRequest(scope=place, member=member)
    with control_channel(control) as channel:
        found = all_pages(_Stub(channel).ListBindings, request, "bindings").bindings
        wanted = [one for one in found if one.scope == place and (role is None or role_text(one.role) == role)]
        if not wanted:
            fail(f"{member} has no such role in {place}")
        taken = [
            _Stub(channel)
            .DeleteBinding(
                access_service_pb2.DeleteBindingRequest(name=one.name, idempotency_key=key_or_new("")),
                timeout=TIMEOUT_S,
            )
            .binding
            for one in wanted
        ]
        _print(taken, json=json)


def _give(request: access_service_pb2.CreateBindingRequest, control: str, *, json: bool) -> None:
    request.idempotency_key = key_or_new(request.idempotency_key)
    with control_channel(control) as channel:
        _print([_Stub(channel).CreateBinding(request, timeout=TIMEOUT_S).binding], json=json)


def _print(bindings: list[binding_pb2.Binding], *, json: bool) -> None:
    if json:
        print_json(access_service_pb2.ListBindingsResponse(bindings=bindings))
    else:
        out.print(binding_table(bindings))
