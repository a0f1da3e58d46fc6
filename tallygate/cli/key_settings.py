"""Settings of API keys as people type them: services and models, routes, networks, ends."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Annotated

import typer
from google.protobuf.duration_pb2 import Duration
from google.protobuf.timestamp_pb2 import Timestamp

from tallygate.cli.durations import parse_duration
from tallygate.cli.names import model_name, service_name
from tallygate.control.v1 import api_key_config_pb2, api_key_pb2

ScopeServiceOption = Annotated[
    list[str] | None,
    typer.Option(
        "--service", metavar="SERVICE", help="Only for this service, by its id, or acme/chat-prod; repeatable."
    ),
]
ScopeModelOption = Annotated[
    list[str] | None, typer.Option("--model", metavar="MODEL", help="Only for this model; repeatable.")
]
RouteOption = Annotated[
    list[str] | None,
    typer.Option("--route", metavar="MODEL=SERVICE", help="Which service serves a model; repeatable."),
]
NetworkOption = Annotated[
    list[str] | None,
    typer.Option("--network", metavar="NETWORK", help="Only from there, such as 192.0.2.0/24; repeatable."),
]
ExpiresOption = Annotated[
    Duration | None,
    typer.Option("--expires", metavar="TIME", parser=parse_duration, help="When it ends, from now on: 90d or 12h."),
]


def scope_of(key: str, services: Sequence[str], models: Sequence[str]) -> api_key_pb2.KeyScope:
    """The scope with these services of the key's account and these models; all where none is named."""
    return api_key_pb2.KeyScope(
        all_services=not services,
        services=[_own_service(key, service) for service in services],
        all_models=not models,
        models=[model_name(model) for model in models],
    )


def routes_of(key: str, routes: Sequence[str]) -> api_key_pb2.KeyRoutes:
    """Routes of the form `llama=chat-prod`."""
    made = api_key_pb2.KeyRoutes()
    for route in routes:
        model, sign, service = route.partition("=")
        if not (sign and model and service):
            raise typer.BadParameter(f"{route!r} is no route; write it as llama=chat-prod")
        made.routes.append(api_key_config_pb2.ModelRoute(model=model_name(model), service=_own_service(key, service)))
    return made


def networks_of(networks: Sequence[str]) -> api_key_pb2.KeyNetworks:
    """These networks; the server says which are none."""
    return api_key_pb2.KeyNetworks(networks=networks)


def soon(length: Duration) -> Timestamp:
    """The moment that comes so long from now, by the clock of this machine."""
    return Timestamp(seconds=int(time.time()) + length.seconds)


def _own_service(key: str, service: str) -> str:
    """A service of the key's account by its id, or any in full."""
    if "/" in service:
        return service_name(service)
    return f"{key.partition('/keys/')[0]}/services/{service}"
