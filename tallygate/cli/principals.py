"""`tallygate principal`: who has signed in, and who is locked out."""

from __future__ import annotations

from typing import Annotated

import typer

from tallygate.cli.bindings import MemberArgument
from tallygate.cli.console import out, print_json, print_list
from tallygate.cli.pages import all_pages
from tallygate.cli.rpc import (
    DEFAULT_CONTROL,
    TIMEOUT_S,
    ControlOption,
    CsvOption,
    JsonOption,
    KeyOption,
    control_channel,
    key_or_new,
)
from tallygate.cli.show_access import principal_table
from tallygate.control.v1 import access_service_pb2, access_service_pb2_grpc, principal_pb2

app = typer.Typer(help="People and programs: who has signed in, who is locked out.", no_args_is_help=True)

_Stub = access_service_pb2_grpc.AccessServiceStub


@app.command("list")
def list_principals(
    *,
    disabled: Annotated[bool, typer.Option("--disabled", help="Only those that are locked out.")] = False,
    control: ControlOption = DEFAULT_CONTROL,
    json: JsonOption = False,
    csv: CsvOption = False,
) -> None:
    """Lists who has signed in, and everybody who is locked out."""
    request = access_service_pb2.ListPrincipalsRequest(show_disabled_only=disabled)
    with control_channel(control) as channel:
        found = all_pages(_Stub(channel).ListPrincipals, request, "principals")
        print_list(found, lambda: principal_table(found.principals), json=json, csv=csv)


@app.command()
def disable(
    member: MemberArgument,
    *,
    control: ControlOption = DEFAULT_CONTROL,
    idempotency_key: KeyOption = "",
    json: JsonOption = False,
) -> None:
    """Locks somebody out, within a second on every connected node, open streams included."""
    request = access_service_pb2.DisablePrincipalRequest(member=member, idempotency_key=key_or_new(idempotency_key))
    with control_channel(control) as channel:
        _print(_Stub(channel).DisablePrincipal(request, timeout=TIMEOUT_S).principal, json=json)


@app.command()
def enable(
    member: MemberArgument,
    *,
    control: ControlOption = DEFAULT_CONTROL,
    idempotency_key: KeyOption = "",
    json: JsonOption = False,
) -> None:
    """Lets somebody in again, who then signs in again."""
    request = access_service_pb2.EnablePrincipalRequest(member=member, idempotency_key=key_or_new(idempotency_key))
    with control_channel(control) as channel:
        _print(_Stub(channel).EnablePrincipal(request, timeout=TIMEOUT_S).principal, json=json)


def _print(principal: principal_pb2.Principal, *, json: bool) -> None:
    print_json(principal) if json else out.print(principal_table([principal]))
