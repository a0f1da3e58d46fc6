"""`tallygate key`: API keys, which end users show to inference servers."""

from __future__ import annotations

from typing import Annotated

import typer
from google.protobuf.duration_pb2 import Duration

from tallygate.cli.console import err, out, print_json, print_list
from tallygate.cli.durations import parse_duration
from tallygate.cli.key_file import IMPORT_MAX, read_keys, read_secret
from tallygate.cli.key_settings import (
    ExpiresOption,
    NetworkOption,
    RouteOption,
    ScopeModelOption,
    ScopeServiceOption,
    networks_of,
    routes_of,
    scope_of,
    soon,
)
from tallygate.cli.names import account_name, key_name, service_name
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
from tallygate.cli.show_keys import key_facts, key_table
from tallygate.control.v1 import api_key_pb2, key_service_pb2, key_service_pb2_grpc

app = typer.Typer(help="API keys: what end users show to inference servers.", no_args_is_help=True)

KeyArgument = Annotated[
    str, typer.Argument(metavar="KEY", help="acme/first, or accounts/acme/keys/first", parser=key_name)
]
_Stub = key_service_pb2_grpc.KeyServiceStub


@app.command()
def create(
    key: KeyArgument,
    *,
    display_name: Annotated[str, typer.Option(help="A name for people.")] = "",
    team: Annotated[str, typer.Option(help="Id of the team of its account that it belongs to.")] = "",
    owner: Annotated[
        str, typer.Option(metavar="MEMBER", help="Without whom it opens nothing: person:... or serviceAccount:...")
    ] = "",
    service: ScopeServiceOption = None,
    model: ScopeModelOption = None,
    route: RouteOption = None,
    network: NetworkOption = None,
    expires: ExpiresOption = None,
    temporary: Annotated[
        Duration | None,
        typer.Option(metavar="TIME", parser=parse_duration, help="Make a temporary key, for 60s to 30d."),
    ] = None,
    secret_file: Annotated[
        str, typer.Option(metavar="FILE", help="Bring a secret along that is in this file; - for stdin.")
    ] = "",
    out_file: OutOption = "",
    control: ControlOption = DEFAULT_CONTROL,
    idempotency_key: KeyOption = "",
    json: JsonOption = False,
) -> None:
    """Creates a key and shows its secret, once; for all services and models, unless some are named."""
    require_new(out_file)
    request = key_service_pb2.CreateKeyRequest(
        name=key,
        display_name=display_name,
        team=team,
        owner=owner,
        scope=scope_of(key, service or [], model or []),
        routes=routes_of(key, route or []),
        networks=networks_of(network or []),
        expire_time=soon(expires) if expires else None,
        temporary_for=temporary,
        secret=read_secret(secret_file) if secret_file else "",
        idempotency_key=key_or_new(idempotency_key),
    )
    with control_channel(control) as channel:
        made = _Stub(channel).CreateKey(request, timeout=TIMEOUT_S)
        if json:
            print_json(made)
            return
        err.print(key_facts(made.key))
        if not secret_file:
            show_secret(made.secret, out_file, lost=made.secret_lost, what="key")


@app.command("list")
def list_keys(
    account: Annotated[str, typer.Argument(metavar="ACCOUNT", help="acme; without it, all that one sees")] = "",
    *,
    team: Annotated[str, typer.Option(help="Only this team's.")] = "",
    service: Annotated[
        str, typer.Option(metavar="SERVICE", help="Only those that may be used for it; acme/finder.")
    ] = "",
    deleted: Annotated[bool, typer.Option("--deleted", help="Deleted ones too.")] = False,
    control: ControlOption = DEFAULT_CONTROL,
    json: JsonOption = False,
    csv: CsvOption = False,
) -> None:
    """Lists keys."""
    request = key_service_pb2.ListKeysRequest(
        account=account_name(account) if account else "",
        team=team,
        show_deleted=deleted,
        inference_service=service_name(service) if service else "",
    )
    with control_channel(control) as channel:
        found = all_pages(_Stub(channel).ListKeys, request, "keys")
        print_list(found, lambda: key_table(found.keys), json=json, csv=csv)


@app.command()
def show(key: KeyArgument, *, control: ControlOption = DEFAULT_CONTROL, json: JsonOption = False) -> None:
    """Shows a key: what it may be used for, and whether it opens anything."""
    with control_channel(control) as channel:
        request = key_service_pb2.GetKeyRequest(name=key)
        _print(_Stub(channel).GetKey(request, timeout=TIMEOUT_S).key, json=json)


@app.command()
def update(
    key: KeyArgument,
    *,
    display_name: Annotated[str | None, typer.Option(help="A name for people.")] = None,
    service: ScopeServiceOption = None,
    all_services: Annotated[bool, typer.Option("--all-services", help="All services that it reaches.")] = False,
    model: ScopeModelOption = None,
    all_models: Annotated[bool, typer.Option("--all-models", help="All models.")] = False,
    route: RouteOption = None,
    no_routes: Annotated[bool, typer.Option("--no-routes", help="No routes any more.")] = False,
    network: NetworkOption = None,
    any_network: Annotated[bool, typer.Option("--any-network", help="From anywhere.")] = False,
    expires: ExpiresOption = None,
    never_expires: Annotated[bool, typer.Option("--never-expires", help="No end any more.")] = False,
    control: ControlOption = DEFAULT_CONTROL,
    idempotency_key: KeyOption = "",
    json: JsonOption = False,
) -> None:
    """Changes what is given; of the scope, services and models each by themselves."""
    request = key_service_pb2.UpdateKeyRequest(
        name=key,
        display_name=display_name,
        routes=routes_of(key, route or []) if route or no_routes else None,
        networks=networks_of(network or []) if network or any_network else None,
        expire_time=soon(expires) if expires else None,
        clear_expire_time=never_expires,
        idempotency_key=key_or_new(idempotency_key),
    )
    with control_channel(control) as channel:
        if service or all_services or model or all_models:
            known = _Stub(channel).GetKey(key_service_pb2.GetKeyRequest(name=key), timeout=TIMEOUT_S).key.scope
            given = scope_of(key, service or [], model or [])
            request.scope.all_services, services = _either(
                given, known, "services", changes=bool(service) or all_services
            )
            request.scope.all_models, models = _either(given, known, "models", changes=bool(model) or all_models)
            request.scope.services.extend(services)
            request.scope.models.extend(models)
        _print(_Stub(channel).UpdateKey(request, timeout=TIMEOUT_S).key, json=json)


@app.command()
def rotate(
    key: KeyArgument,
    *,
    overlap: Annotated[
        Duration | None,
        typer.Option(metavar="TIME", parser=parse_duration, help="How long the secret before stays valid; default 1d."),
    ] = None,
    at_once: Annotated[bool, typer.Option("--at-once", help="The secret before ends now.")] = False,
    out_file: OutOption = "",
    control: ControlOption = DEFAULT_CONTROL,
    idempotency_key: KeyOption = "",
    json: JsonOption = False,
) -> None:
    """Gives a key another secret and shows it, once; all that was counted for the key goes on."""
    require_new(out_file)
    request = key_service_pb2.RotateKeyRequest(
        name=key, overlap=Duration() if at_once else overlap, idempotency_key=key_or_new(idempotency_key)
    )
    with control_channel(control) as channel:
        made = _Stub(channel).RotateKey(request, timeout=TIMEOUT_S)
        if json:
            print_json(made)
            return
        err.print(key_facts(made.key))
        show_secret(made.secret, out_file, lost=made.secret_lost, what="key")


@app.command()
def disable(
    key: KeyArgument,
    *,
    control: ControlOption = DEFAULT_CONTROL,
    idempotency_key: KeyOption = "",
    json: JsonOption = False,
) -> None:
    """Closes what a key opens, within half a second on every connected node."""
    request = key_service_pb2.DisableKeyRequest(name=key, idempotency_key=key_or_new(idempotency_key))
    with control_channel(control) as channel:
        _print(_Stub(channel).DisableKey(request, timeout=TIMEOUT_S).key, json=json)


@app.command()
def enable(
    key: KeyArgument,
    *,
    control: ControlOption = DEFAULT_CONTROL,
    idempotency_key: KeyOption = "",
    json: JsonOption = False,
) -> None:
    """Lets a key open again what it opened."""
    request = key_service_pb2.EnableKeyRequest(name=key, idempotency_key=key_or_new(idempotency_key))
    with control_channel(control) as channel:
        _print(_Stub(channel).EnableKey(request, timeout=TIMEOUT_S).key, json=json)


@app.command()
def delete(
    key: KeyArgument,
    *,
    control: ControlOption = DEFAULT_CONTROL,
    idempotency_key: KeyOption = "",
    json: JsonOption = False,
) -> None:
    """Deletes a key, which then opens nothing; its name is never used again."""
    request = key_service_pb2.DeleteKeyRequest(name=key, idempotency_key=key_or_new(idempotency_key))
    with control_channel(control) as channel:
        _print(_Stub(channel).DeleteKey(request, timeout=TIMEOUT_S).key, json=json)


@app.command("import")
def import_keys(
    account: Annotated[str, typer.Argument(metavar="ACCOUNT", help="acme", parser=account_name)],
    file: Annotated[
        str,
        typer.Argument(metavar="FILE", help="CSV with a head: key, sha256, and if wanted team, owner, display_name"),
    ],
    *,
    control: ControlOption = DEFAULT_CONTROL,
    idempotency_key: KeyOption = "",
    json: JsonOption = False,
) -> None:
    """Brings keys along by the SHA-256 of their secrets, for operators; a thousand at a time, each batch whole."""
    keys, first = read_keys(account, file), key_or_new(idempotency_key)
    count = 0
    with control_channel(control) as channel:
        for start in range(0, len(keys), IMPORT_MAX):
            request = key_service_pb2.ImportKeysRequest(
                account=account, keys=keys[start : start + IMPORT_MAX], idempotency_key=f"{first}-{start}"
            )
            count += _Stub(channel).ImportKeys(request, timeout=TIMEOUT_S).key_count
            err.print(f"{count:,} of {len(keys):,} keys", style="dim")
    if json:
        print_json(key_service_pb2.ImportKeysResponse(key_count=count))


def _either(
    given: api_key_pb2.KeyScope, known: api_key_pb2.KeyScope, what: str, *, changes: bool
) -> tuple[bool, list[str]]:
    """Whether all are meant, and otherwise which: as given where that changes, or else as known."""
    scope = given if changes else known
    return getattr(scope, f"all_{what}"), list(getattr(scope, what))


def _print(key: api_key_pb2.ApiKey, *, json: bool) -> None:
    print_json(key) if json else out.print(key_facts(key))
