"""`tallygate console`: pages in the browser, for whoever signs in."""

from __future__ import annotations

import secrets
from dataclasses import replace
from typing import Annotated, Final
from urllib.parse import urlsplit

import typer

from tallygate._channel import Channels
from tallygate._server.clock import SystemClock
from tallygate._server.errors import ConfigurationError
from tallygate._server.grpc.listen import require_safe
from tallygate._web_address import address_problem
from tallygate.cli.rpc import (
    DEFAULT_CONTROL,
    ControlOption,
    MeteringOption,
    channels_to,
    control_address,
    fail,
    metering_addresses,
)
from tallygate.cli.web_server import listening, tls_files, web_address

GRACE_S: Final = 5
"""Time for which answers go on after the console was told to end."""
RANDOM_BYTES: Final = 32
"""Number of random bytes in whatever nobody may guess."""


ListenOption = Annotated[
    str, typer.Option(metavar="HOST:PORT", envvar="TALLYGATE_CONSOLE_LISTEN", help="Where browsers connect.")
]
PublicUrlOption = Annotated[
    str,
    typer.Option(
        metavar="URL",
        envvar="TALLYGATE_CONSOLE_PUBLIC_URL",
        help="Where browsers open it, such as https://console.example.com; needed where that is another address.",
    ),
]
InferenceUrlOption = Annotated[
    str,
    typer.Option(
        metavar="URL",
        envvar="TALLYGATE_CONSOLE_INFERENCE_URL",
        help="Where inference servers are reached, such as https://api.example.com/v1; for code samples.",
    ),
]
CertOption = Annotated[
    str, typer.Option(metavar="FILE", envvar="TALLYGATE_TLS_CERT", help="Certificate to serve by TLS with.")
]
KeyOption = Annotated[str, typer.Option(metavar="FILE", envvar="TALLYGATE_TLS_KEY", help="Its key.")]
InsecureOption = Annotated[
    bool, typer.Option("--insecure", envvar="TALLYGATE_INSECURE", help="Listen beyond loopback without TLS.")
]


def console(
    *,
    listen: ListenOption = "127.0.0.1:7080",
    public_url: PublicUrlOption = "",
    inference_url: InferenceUrlOption = "",
    control: ControlOption = DEFAULT_CONTROL,
    metering: MeteringOption = None,
    tls_cert: CertOption = "",
    tls_key: KeyOption = "",
    insecure: InsecureOption = False,
) -> None:
    """Serves the console: pages in the browser, for whoever signs in with a token or with an issuer."""
    try:
        import uvicorn  # noqa: PLC0415  # comes with an extra

        from tallygate.console.app import build  # noqa: PLC0415  # likewise
        from tallygate.console.site import ConsoleSettings  # noqa: PLC0415  # likewise
    except ModuleNotFoundError as error:
        fail(f"The console needs {error.name}, which comes with: pip install 'tallygate[cli,console]'", 2)
    _check_urls(public_url, inference_url)
    tls = tls_files(tls_cert, tls_key)
    _require_safe(listen, insecure=insecure, has_tls=bool(tls))
    controls = [address.strip() for address in control_address(control).split(",")]
    nodes = metering_addresses(metering)
    settings = ConsoleSettings(
        public_url=public_url.rstrip("/"),
        inference_url=inference_url.rstrip("/"),
        has_tls=bool(tls) or public_url.startswith("https://"),
    )
    channels = _channels(*controls, *nodes)
    listener = listening(listen, "the console")
    app = build(settings, controls, nodes, channels, clock=SystemClock(), random_text=_random_text)
    print(f"serving {web_address(listener, has_tls=bool(tls))}", flush=True)
    config = uvicorn.Config(
        app,
        ws="none",
        # Who calls is who connects: an address that a header says could be anybody's.
        proxy_headers=False,
        server_header=False,
        # Addresses would be in it, and an issuer's answer is in one.
        access_log=False,
        log_level="warning",
        timeout_graceful_shutdown=GRACE_S,
        **tls,
    )
    uvicorn.Server(config).run(sockets=[listener])


def _channels(*addresses: str) -> Channels:
    """Channels that prove nothing: the console has no rights of its own, and knows the servers' authority alone."""
    security = channels_to(*addresses).security
    return Channels(replace(security, cert_file="", key_file="", token="", token_file=""))


def _random_text() -> str:
    return secrets.token_urlsafe(RANDOM_BYTES)


def _require_safe(listen: str, *, insecure: bool, has_tls: bool) -> None:
    """Ends the command where anybody on a network could read what browsers send."""
    try:
        require_safe(listen, insecure=insecure, has_tls=has_tls)
    except ConfigurationError as error:
        fail(str(error))


def _check_urls(public_url: str, inference_url: str) -> None:
    """Ends the command where either is no address that pages may have."""
    problem = address_problem(public_url) if public_url else ""
    if problem:
        fail(f"--public-url {problem}")
    if public_url and urlsplit(public_url).path.strip("/"):
        fail("--public-url has a path; the console has a host of its own")
    if inference_url and urlsplit(inference_url).scheme not in ("http", "https"):
        fail("--inference-url must begin with https:// or http://")
