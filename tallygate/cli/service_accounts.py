"""`tallygate service-account`: programs that call, such as inference servers and scripts."""

from __future__ import annotations

from typing import Annotated

import typer

from tallygate.cli.console import out, print_json, print_list
from tallygate.cli.names import scope_name, service_account_name
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
from tallygate.cli.show_access import service_account_table
from tallygate.control.v1 import service_account_pb2, token_service_pb2, token_service_pb2_grpc

app = typer.Typer(
    help="Service accounts: programs that call, with roles and tokens of their own.", no_args_is_help=True
)

ServiceAccountArgument = Annotated[
    str,
    typer.Argument(
        metavar="SERVICE_ACCOUNT",
        help="gateway of the platform, acme/gateway, or acme/search/gateway of a team",
        parser=service_account_name,
    ),
]
_Stub = token_service_pb2_grpc.TokenServiceStub


@app.command()
def create(
    service_account: ServiceAccountArgument,
    *,
    display_name: Annotated[str, typer.Option(help="A name for people.")] = "",
    control: ControlOption = DEFAULT_CONTROL,
    idempotency_key: KeyOption = "",
    json: JsonOption = False,
) -> None:
    """Creates a service account without any role; `binding create` gives it some, `token create` a token."""
    request = token_service_pb2.CreateServiceAccountRequest(
        name=service_account, display_name=display_name, idempotency_key=key_or_new(idempotency_key)
    )
    with control_channel(control) as channel:
        _print(_Stub(channel).CreateServiceAccount(request, timeout=TIMEOUT_S).service_account, json=json)


@app.command("list")
def list_service_accounts(
    scope: Annotated[
        str, typer.Argument(metavar="SCOPE", help="acme, or acme/search for a team of it; without it, all")
    ] = "",
    *,
    control: ControlOption = DEFAULT_CONTROL,
    json: JsonOption = False,
    csv: CsvOption = False,
) -> None:
    """Lists service accounts."""
    request = token_service_pb2.ListServiceAccountsRequest(scope=scope_name(scope))
    with control_channel(control) as channel:
        found = all_pages(_Stub(channel).ListServiceAccounts, request, "service_accounts")
        print_list(found, lambda: service_account_table(found.service_accounts), json=json, csv=csv)


@app.command()
def delete(
    service_account: ServiceAccountArgument,
    *,
    control: ControlOption = DEFAULT_CONTROL,
    idempotency_key: KeyOption = "",
    json: JsonOption = False,
) -> None:
    """Deletes a service account with its tokens and roles; its name is never used again."""
    request = token_service_pb2.DeleteServiceAccountRequest(
        name=service_account, idempotency_key=key_or_new(idempotency_key)
    )
    with control_channel(control) as channel:
        _print(_Stub(channel).DeleteServiceAccount(request, timeout=TIMEOUT_S).service_account, json=json)


def _print(account: service_account_pb2.ServiceAccount, *, json: bool) -> None:
    print_json(account) if json else out.print(service_account_table([account]))
