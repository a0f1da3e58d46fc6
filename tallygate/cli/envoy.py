"""`tallygate envoy`: meters what passes through an Envoy, which asks for each request."""

from __future__ import annotations

import asyncio
import os
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import grpc
import typer
from grpc_health.v1 import health_pb2_grpc

from tallygate._server.errors import ConfigurationError
from tallygate._server.grpc.health import HealthServicer
from tallygate._server.grpc.listen import parse_listen, require_free, require_safe
from tallygate._server.process.run import announce, run
from tallygate._settings_file import with_settings_file
from tallygate.cli.rpc import fail

if TYPE_CHECKING:
    from tallygate.integrations.asgi import MeteringMiddleware

ListenOption = Annotated[
    str, typer.Option(metavar="HOST:PORT", envvar="TALLYGATE_ENVOY_LISTEN", help="Where Envoy connects.")
]


def envoy(
    *,
    listen: ListenOption = "127.0.0.1:7490",
    insecure: Annotated[
        bool, typer.Option("--insecure", help="Serve a network in plain text, requests and keys included.")
    ] = False,
    tls_cert: Annotated[str, typer.Option(metavar="FILE", help="Certificate to serve by TLS with.")] = "",
    tls_key: Annotated[str, typer.Option(metavar="FILE", help="Its key.")] = "",
    client_ca: Annotated[
        str, typer.Option(metavar="FILE", help="Authorities of the certificate that Envoy has to show.")
    ] = "",
) -> None:
    """Meters what passes through Envoy; its other settings are those of the middleware."""
    if bool(tls_cert) != bool(tls_key):
        fail("--tls-cert and --tls-key belong together; give both, or none for plain text")
    if client_ca and not tls_cert:
        fail("--client-ca needs --tls-cert and --tls-key: certificates are shown by TLS only")
    try:
        require_safe(listen, insecure=insecure, has_tls=bool(tls_cert))
        host, _ = parse_listen(listen)
    except ConfigurationError as error:
        fail(str(error))
    credentials = _credentials(tls_cert, tls_key, client_ca)
    middleware = _middleware()

    async def serve(stop: asyncio.Event) -> None:
        from tallygate.integrations.envoy.serve import Servicers, serving  # noqa: PLC0415  # as the middleware

        require_free(listen)
        health = HealthServicer([])
        async with serving(
            listen,
            Servicers(middleware),
            credentials=credentials,
            add_health=partial(health_pb2_grpc.add_HealthServicer_to_server, health),
        ) as port:
            announce(f"{host}:{port}")
            await stop.wait()
            health.close()

    run(serve)


def _middleware() -> MeteringMiddleware:
    """The middleware around what is behind Envoy; what is wrong with its settings ends the command."""
    try:
        from tallygate.integrations import environment  # noqa: PLC0415  # beside the middleware
        from tallygate.integrations.asgi import MeteringMiddleware  # noqa: PLC0415  # checks the environment
        from tallygate.integrations.envoy.app import EnvoyUpstream  # noqa: PLC0415  # beside it

        if environment.server_counts_input_from(with_settings_file(os.environ)):
            fail(f"{environment.COUNT_INPUT} is server, which cannot be asked from beside Envoy: leave it out")
        return MeteringMiddleware(EnvoyUpstream())
    except ValueError as error:
        fail(str(error))


def _credentials(cert: str, key: str, client_ca: str) -> grpc.ServerCredentials | None:
    if not cert:
        return None
    try:
        pair = Path(key).read_bytes(), Path(cert).read_bytes()
        authorities = Path(client_ca).read_bytes() if client_ca else None
        return grpc.ssl_server_credentials([pair], authorities, require_client_auth=bool(client_ca))
    except OSError as error:
        fail(f"{error.filename} cannot be read: {error.strerror}")
