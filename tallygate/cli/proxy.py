"""`tallygate proxy`: meters servers that no middleware can be put into, from in front of them."""

from __future__ import annotations

import ssl
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final

import typer

from tallygate.cli.rpc import fail
from tallygate.cli.web_server import listening, tls_files, web_address

if TYPE_CHECKING:
    from tallygate.integrations.asgi_types import App

GRACE_S: Final = 30
"""Time for which answers go on after the proxy was told to end."""


UpstreamOption = Annotated[
    list[str],
    typer.Option(
        metavar="URL",
        envvar="TALLYGATE_PROXY_UPSTREAMS",
        help="The inference server, http://HOST:PORT; or MODEL=URL for one of several, repeatable.",
    ),
]
ListenOption = Annotated[
    str, typer.Option(metavar="HOST:PORT", envvar="TALLYGATE_PROXY_LISTEN", help="Where clients connect.")
]
KeyFileOption = Annotated[
    str,
    typer.Option(
        metavar="FILE",
        envvar="TALLYGATE_PROXY_UPSTREAM_KEY_FILE",
        help="The API key that upstreams want; end users' keys are not passed on.",
    ),
]
CaOption = Annotated[
    str,
    typer.Option(metavar="FILE", envvar="TALLYGATE_PROXY_UPSTREAM_CA", help="Authorities of upstreams' certificates."),
]
SilenceOption = Annotated[
    int,
    typer.Option(
        metavar="SECONDS",
        envvar="TALLYGATE_PROXY_SILENCE_S",
        min=1,
        help="An upstream that says nothing for so long has failed.",
    ),
]


def proxy(
    *,
    upstream: UpstreamOption,
    listen: ListenOption = "127.0.0.1:7480",
    upstream_key_file: KeyFileOption = "",
    upstream_ca: CaOption = "",
    silence: SilenceOption = 600,
    tls_cert: Annotated[str, typer.Option(metavar="FILE", help="Certificate to serve by TLS with.")] = "",
    tls_key: Annotated[str, typer.Option(metavar="FILE", help="Its key.")] = "",
) -> None:
    """Passes requests on to inference servers and meters them; its other settings are those of the middleware."""
    try:
        import uvicorn  # noqa: PLC0415  # comes with an extra
    except ModuleNotFoundError as error:
        fail(f"The proxy needs {error.name}, which comes with: pip install 'tallygate[cli,proxy]'", 2)
    app = _app(upstream, upstream_key_file, upstream_ca, silence)
    tls = tls_files(tls_cert, tls_key)
    listener = listening(listen, "the proxy")
    print(f"serving {web_address(listener, has_tls=bool(tls))}", flush=True)
    config = uvicorn.Config(
        app,
        ws="none",
        # Who calls is who connects: an address that a header says could be anybody's.
        proxy_headers=False,
        server_header=False,
        date_header=False,
        access_log=False,
        log_level="warning",
        timeout_graceful_shutdown=GRACE_S,
        **tls,
    )
    uvicorn.Server(config).run(sockets=[listener])


def _upstream_key(path: str) -> str:
    """The key in that file; what could be no header ends the command, and is not repeated."""
    if not path:
        return ""
    try:
        key = Path(path).read_text(encoding="latin-1").strip()
    except OSError as error:
        fail(f"{path} cannot be read: {error.strerror}")
    if not key or " " in key or not (key.isascii() and key.isprintable()):
        fail(f"{path} holds no API key: one line of letters, digits and signs")
    return key


def _authorities(path: str) -> ssl.SSLContext | None:
    if not path:
        return None
    try:
        return ssl.create_default_context(cafile=path)
    except OSError as error:
        no_certificates = isinstance(error, ssl.SSLError)
        fail(f"{path} {'has no certificates' if no_certificates else f'cannot be read: {error.strerror}'}")


def _app(texts: list[str], key_file: str, ca: str, silence_s: int) -> App:
    """The proxy, metered; what is wrong with its settings ends the command."""
    try:
        from tallygate.integrations.proxy.app import (  # noqa: PLC0415  # comes with an extra
            ProxyApp,
            ProxySettings,
            breaking_off,
        )
        from tallygate.integrations.proxy.upstreams import read_upstreams  # noqa: PLC0415  # beside it
    except ModuleNotFoundError as error:
        fail(f"The proxy needs {error.name}, which comes with: pip install 'tallygate[cli,proxy]'", 2)
    try:
        from tallygate.integrations.asgi import MeteringMiddleware  # noqa: PLC0415  # checks the environment

        upstreams = read_upstreams(texts)
        settings = ProxySettings(silence_s=silence_s, upstream_key=_upstream_key(key_file), tls=_authorities(ca))
        return breaking_off(MeteringMiddleware(ProxyApp(upstreams, settings)))
    except ValueError as error:
        fail(str(error))
