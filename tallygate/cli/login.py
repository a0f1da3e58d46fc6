"""`tallygate login`, `logout` and `whoami`: who one is to a pair of services."""

from __future__ import annotations

import os
import webbrowser
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Annotated

import grpc
import typer

from tallygate._channel import Channels
from tallygate._proxies import is_this_machine
from tallygate._security import Security
from tallygate._sign_in_flow import SignInError
from tallygate.cli.console import err, literal, out, print_json
from tallygate.cli.contexts import Context, ContextError, ContextStore, KeptToken
from tallygate.cli.oidc_login import sign_in
from tallygate.cli.rpc import (
    DEFAULT_CONTROL,
    TIMEOUT_S,
    ControlOption,
    JsonOption,
    answering,
    control_address,
    control_channel,
    fail,
    key_or_new,
    sentence,
)
from tallygate.cli.security import current_context_name, given_security
from tallygate.cli.show_access import caller_facts
from tallygate.control.v1 import (
    access_service_pb2,
    access_service_pb2_grpc,
    token_service_pb2,
    token_service_pb2_grpc,
)

TOKEN_VARIABLE = "TALLYGATE_TOKEN"  # noqa: S105  # the name of a variable


def login(
    context: Annotated[str, typer.Argument(metavar="CONTEXT", help="A name for this pair")] = "default",
    *,
    metering: Annotated[
        str, typer.Option("--metering", metavar="HOST:PORT", help="Where its metering nodes listen.")
    ] = "",
    issuer: Annotated[
        str, typer.Option("--issuer", metavar="URL", help="Sign in with this issuer, where there are several.")
    ] = "",
    no_browser: Annotated[
        bool, typer.Option("--no-browser", help="Print the address to open, and open nothing.")
    ] = False,
    callback_port: Annotated[
        int,
        typer.Option(
            "--callback-port", metavar="PORT", help="Where the browser comes back, if the issuer must know; else any."
        ),
    ] = 0,
    control: ControlOption = DEFAULT_CONTROL,
) -> None:
    """Signs in and keeps who you are for the commands that follow.

    By a token, from `tallygate --token-file FILE login` or from the environment's TALLYGATE_TOKEN; without one, in the
    browser.
    """
    address, security = control_address(control), given_security()
    kept = _token_given(security)
    if kept is None:
        opener = _opener(open_browser=not no_browser)
        kept = _sign_in(address, security, issuer, lambda found: sign_in(found, opener, callback_port=callback_port))
    known = Context(
        control=address,
        metering=metering,
        ca_file=_absolute(security.ca_file),
        cert_file=_absolute(security.cert_file),
        key_file=_absolute(security.key_file),
    )
    caller = _who_am_i(address, replace(security, token=kept.token, token_file=""))
    store = ContextStore.of(os.environ)
    try:
        contexts = store.read()
        # At no time is there a token beside the address of another server, also where a file cannot be written.
        store.keep_token(context, None)
        store.write(contexts.with_context(context, known))
        store.keep_token(context, kept)
    except ContextError as error:
        fail(str(error))
    out.print(caller_facts(caller))
    err.print(literal(f"Commands use the context {context} now."), style="dim")


def logout() -> None:
    """Forgets who you are; a token that was given for a sign-in opens nothing from then on."""
    store = ContextStore.of(os.environ)
    try:
        name = current_context_name()
        kept = store.token(name)
        if kept is None:
            fail("nobody is logged in; see `tallygate context list`")
        problem = _end(store.read().by_name.get(name, Context()), kept) if kept.signed_in else ""
        store.keep_token(name, None)
    except ContextError as error:
        fail(str(error))
    out.print(literal(f"Logged out of {name}."))
    if problem:
        err.print(literal(f"The server was not told, so the token opens until it expires: {problem}"), style="dim")


def whoami(*, control: ControlOption = DEFAULT_CONTROL, json: JsonOption = False) -> None:
    """Shows who you are to the control service, and what you may do."""
    with control_channel(control) as channel:
        stub = access_service_pb2_grpc.AccessServiceStub(channel)
        caller = stub.WhoAmI(access_service_pb2.WhoAmIRequest(), timeout=TIMEOUT_S)
        print_json(caller) if json else out.print(caller_facts(caller))


def _token_given(security: Security) -> KeptToken | None:
    """The token from the file or the environment; None where there is neither."""
    if not security.token_file:
        text = os.environ.get(TOKEN_VARIABLE, "").strip()
        return KeptToken(text) if text else None
    try:
        return KeptToken(Path(security.token_file).read_text().strip())
    except OSError as error:
        fail(f"{security.token_file} cannot be read: {error.strerror}; give another file")


def _sign_in(
    address: str, security: Security, issuer: str, ask: Callable[[token_service_pb2.SignInIssuer], str]
) -> KeptToken:
    """A token of the control service, for an ID token that an issuer gave to a browser when it was asked."""
    if not security.has_tls and not all(map(is_this_machine, address.split(","))):
        fail(
            f"nobody signs in by browser at {address} in plain text, where anybody on the way could sign in instead; "
            "name the authority of the server's certificate by --ca"
        )
    with _channel(address, security) as channel:
        stub = token_service_pb2_grpc.TokenServiceStub(channel)
        try:
            options = stub.GetSignInOptions(token_service_pb2.GetSignInOptionsRequest(), timeout=TIMEOUT_S)
            found = [one for one in options.issuers if issuer in ("", one.issuer)]
            if not found:
                fail(_no_issuer(issuer, [one.issuer for one in options.issuers]))
            if len(found) > 1:
                fail(f"there are several issuers; choose one by --issuer: {', '.join(one.issuer for one in found)}")
            id_token = ask(found[0])
            given = stub.ExchangeToken(token_service_pb2.ExchangeTokenRequest(id_token=id_token), timeout=TIMEOUT_S)
        except SignInError as error:
            fail(str(error))
        except grpc.RpcError as error:
            fail(sentence(error, f"the control service at {address}"))
    return KeptToken(given.secret, signed_in=True)


def _opener(*, open_browser: bool) -> Callable[[str], None]:
    def show(url: str) -> None:
        if not open_browser or not webbrowser.open(url):
            err.print("Open this address in a browser:")
            err.print(literal(url))

    return show


def _no_issuer(wanted: str, known: list[str]) -> str:
    if wanted and known:
        return f"nobody signs in here with {wanted}; choose one of {', '.join(known)}"
    return "nobody signs in by browser here; give a token: `tallygate --token-file FILE login`"


def _who_am_i(address: str, security: Security) -> access_service_pb2.WhoAmIResponse:
    with _channel(address, security) as channel:
        stub = access_service_pb2_grpc.AccessServiceStub(channel)
        try:
            return stub.WhoAmI(access_service_pb2.WhoAmIRequest(), timeout=TIMEOUT_S)
        except grpc.RpcError as error:
            fail(sentence(error, f"the control service at {address}"))


def _end(context: Context, kept: KeptToken) -> str:
    """Has the server forget a token; one that has expired is forgotten already. Says why it is not asked."""
    security = Security(context.ca_file, context.cert_file, context.key_file, token=kept.token)
    try:
        opened = Channels(security).open(answering(context.control.split(",")))
    except ValueError as error:
        return str(error)
    with suppress(grpc.RpcError), opened as channel:
        caller = access_service_pb2_grpc.AccessServiceStub(channel).WhoAmI(
            access_service_pb2.WhoAmIRequest(), timeout=TIMEOUT_S
        )
        request = token_service_pb2.DeleteAccessTokenRequest(name=caller.access_token, idempotency_key=key_or_new(""))
        token_service_pb2_grpc.TokenServiceStub(channel).DeleteAccessToken(request, timeout=TIMEOUT_S)
    return ""


def _channel(address: str, security: Security) -> grpc.Channel:
    try:
        return Channels(security).open(answering(address.split(",")))
    except ValueError as error:
        fail(str(error))


def _absolute(file: str | Path) -> str:
    return str(Path(file).resolve()) if file else ""
