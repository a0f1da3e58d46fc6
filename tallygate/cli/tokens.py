"""`tallygate token`: access tokens of one's own and of service accounts."""

from __future__ import annotations

from typing import Annotated

import typer
from google.protobuf.duration_pb2 import Duration

from tallygate.access.v1 import role_pb2
from tallygate.cli.bindings import ROLES, Role
from tallygate.cli.bootstrap import bootstrap
from tallygate.cli.console import err, out, print_json, print_list
from tallygate.cli.durations import parse_duration
from tallygate.cli.names import scope_name, service_account_name, token_name
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
from tallygate.cli.secrets_shown import OutOption, require_new, show_secret
from tallygate.cli.show_access import token_facts, token_table
from tallygate.control.v1 import access_token_pb2, token_service_pb2, token_service_pb2_grpc

app = typer.Typer(help="Access tokens: what programs and people prove themselves by.", no_args_is_help=True)
app.command()(bootstrap)

TokenArgument = Annotated[
    str,
    typer.Argument(metavar="TOKEN", help="Its name, as `token list` shows it; of one's own, its id", parser=token_name),
]
OwnerArgument = Annotated[
    str,
    typer.Argument(metavar="SERVICE_ACCOUNT", help="gateway, acme/gateway, acme/search/gateway; without it, yourself"),
]
_Stub = token_service_pb2_grpc.TokenServiceStub


@app.command()
def create(
    service_account: OwnerArgument = "",
    *,
    display_name: Annotated[str, typer.Option(help="A name for people.")] = "",
    valid_for: Annotated[
        Duration | None,
        typer.Option(metavar="TIME", parser=parse_duration, help="90d, 12h or 15m; see the contract for the default."),
    ] = None,
    role: Annotated[Role | None, typer.Option(help="No more than this role may do.")] = None,
    scope: Annotated[
        str, typer.Option(metavar="SCOPE", parser=scope_name, help="Only there: acme, or acme/search for a team of it.")
    ] = "",
    out_file: OutOption = "",
    control: ControlOption = DEFAULT_CONTROL,
    idempotency_key: KeyOption = "",
    json: JsonOption = False,
) -> None:
    """Creates a token and shows it, once."""
    require_new(out_file)
    request = token_service_pb2.CreateAccessTokenRequest(
        service_account=_owner(service_account),
        display_name=display_name,
        valid_for=valid_for,
        narrowed_role=ROLES[str(role)] if role else role_pb2.ROLE_UNSPECIFIED,
        narrowed_scope=scope,
        idempotency_key=key_or_new(idempotency_key),
    )
    with control_channel(control) as channel:
        made = _Stub(channel).CreateAccessToken(request, timeout=TIMEOUT_S)
        if json:
            print_json(made)
            return
        err.print(token_facts(made.access_token))
        show_secret(made.secret, out_file, lost=made.secret_lost)


@app.command("list")
def list_tokens(
    service_account: OwnerArgument = "",
    *,
    control: ControlOption = DEFAULT_CONTROL,
    json: JsonOption = False,
    csv: CsvOption = False,
) -> None:
    """Lists the tokens of a service account, or one's own."""
    request = token_service_pb2.ListAccessTokensRequest(service_account=_owner(service_account))
    with control_channel(control) as channel:
        found = all_pages(_Stub(channel).ListAccessTokens, request, "access_tokens")
        print_list(found, lambda: token_table(found.access_tokens), json=json, csv=csv)


@app.command()
def rotate(
    token: TokenArgument,
    *,
    overlap: Annotated[
        Duration | None,
        typer.Option(metavar="TIME", parser=parse_duration, help="How long the secret before stays valid; default 1d."),
    ] = None,
    out_file: OutOption = "",
    control: ControlOption = DEFAULT_CONTROL,
    idempotency_key: KeyOption = "",
    json: JsonOption = False,
) -> None:
    """Gives a token another secret and shows it, once; the one before stays valid for a while."""
    require_new(out_file)
    request = token_service_pb2.RotateAccessTokenRequest(
        name=token, overlap=overlap, idempotency_key=key_or_new(idempotency_key)
    )
    with control_channel(control) as channel:
        made = _Stub(channel).RotateAccessToken(request, timeout=TIMEOUT_S)
        if json:
            print_json(made)
            return
        err.print(token_facts(made.access_token))
        show_secret(made.secret, out_file, lost=made.secret_lost)


@app.command()
def disable(
    token: TokenArgument,
    *,
    control: ControlOption = DEFAULT_CONTROL,
    idempotency_key: KeyOption = "",
    json: JsonOption = False,
) -> None:
    """Closes what a token opens, within a second on every connected node, open streams included."""
    request = token_service_pb2.DisableAccessTokenRequest(name=token, idempotency_key=key_or_new(idempotency_key))
    with control_channel(control) as channel:
        _print(_Stub(channel).DisableAccessToken(request, timeout=TIMEOUT_S).access_token, json=json)


@app.command()
def enable(
    token: TokenArgument,
    *,
    control: ControlOption = DEFAULT_CONTROL,
    idempotency_key: KeyOption = "",
    json: JsonOption = False,
) -> None:
    """Lets a token open again what it opened."""
    request = token_service_pb2.EnableAccessTokenRequest(name=token, idempotency_key=key_or_new(idempotency_key))
    with control_channel(control) as channel:
        _print(_Stub(channel).EnableAccessToken(request, timeout=TIMEOUT_S).access_token, json=json)


@app.command()
def delete(
    token: TokenArgument,
    *,
    control: ControlOption = DEFAULT_CONTROL,
    idempotency_key: KeyOption = "",
    json: JsonOption = False,
) -> None:
    """Deletes a token, which then opens nothing."""
    request = token_service_pb2.DeleteAccessTokenRequest(name=token, idempotency_key=key_or_new(idempotency_key))
    with control_channel(control) as channel:
        _print(_Stub(channel).DeleteAccessToken(request, timeout=TIMEOUT_S).access_token, json=json)


def _owner(text: str) -> str:
    return service_account_name(text) if text else ""


def _print(token: access_token_pb2.AccessToken, *, json: bool) -> None:
    print_json(token) if json else out.print(token_facts(token))
