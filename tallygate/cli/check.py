"""`tallygate check`: mistakes in settings, found before a server starts."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable
from typing import Annotated

import grpc
import typer

from tallygate._proxies import by_way_of
from tallygate._tls_failures import tls_problem
from tallygate.cli.console import err, out
from tallygate.cli.rpc import TIMEOUT_S, control_channel
from tallygate.control.v1 import lifecycle_service_pb2, lifecycle_service_pb2_grpc
from tallygate.integrations import environment
from tallygate.integrations.services import ServiceMap

CONNECT_S = 3
"""Timeout of the connection to a metering node."""

app = typer.Typer(help="Whether what is to be started would work.", no_args_is_help=True)


@app.callback()
def check() -> None:
    """Whether what is to be started would work."""


@app.command("middleware")
def check_middleware(
    *,
    control: Annotated[
        str,
        typer.Option(
            "--control",
            metavar="HOST:PORT",
            envvar="TALLYGATE_CONTROL_ADDRESS",
            help="Where the control service listens, to ask whether the services exist.",
        ),
    ] = "",
) -> None:
    """Says all that is wrong with the environment of a server that takes the middleware; status 1 if anything is."""
    mistakes = environment.mistakes_in(os.environ)
    mistakes += _unreachable(os.environ)
    if control:
        mistakes += _unknown_services(control)
    for mistake in mistakes:
        err.print("error:", style="bold red", end=" ")
        err.print(mistake, markup=False)
    if mistakes:
        raise typer.Exit(1)
    metered = environment.routes_from(os.environ).metered
    out.print(f"The middleware would start, and meter {', '.join(metered)}.", markup=False)
    if not control:
        out.print("Whether its services exist was not asked: say where control is, by --control HOST:PORT.")


def _unreachable(variables: os._Environ[str]) -> Iterable[str]:
    try:
        addresses, channels = environment.addresses_from(variables), environment.channels_from(variables)
    except ValueError:
        return
    for address in addresses:
        with channels.open(address) as channel:
            try:
                grpc.channel_ready_future(channel).result(timeout=CONNECT_S)
            except grpc.FutureTimeoutError:
                yield f"{environment.ADDRESSES}: {_why_not(channel, address, has_tls=channels.security.has_tls)}"


def _why_not(channel: grpc.Channel, address: str, *, has_tls: bool) -> str:
    """Why a node is not reached; gRPC tells the reason to calls only."""
    check: Callable[..., bytes] = channel.unary_unary("/grpc.health.v1.Health/Check")
    try:
        check(b"", timeout=CONNECT_S)
    except grpc.RpcError as error:
        if problem := tls_problem(error.details() or "", has_tls=has_tls):
            return f"the node at {address} {problem}"
    return f"no metering node can be reached at {address}{by_way_of(address)}"


def _unknown_services(control: str) -> Iterable[str]:
    try:
        found = environment.services_from(os.environ)
    except ValueError:
        return
    names = found.known_services() if isinstance(found, ServiceMap) else []
    with control_channel(control) as channel:
        stub = lifecycle_service_pb2_grpc.LifecycleServiceStub(channel)
        for name in names:
            request = lifecycle_service_pb2.GetInferenceServiceRequest(name=name)
            try:
                stub.GetInferenceService(request, timeout=TIMEOUT_S)
            except grpc.RpcError as error:
                if error.code() not in {grpc.StatusCode.NOT_FOUND, grpc.StatusCode.INVALID_ARGUMENT}:
                    raise
                yield f"the control service knows no {name}: {error.details()}"
