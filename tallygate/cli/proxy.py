"""`tallygate proxy`: meters servers that no middleware can be put into, from in front of them."""

from __future__ import annotations

import socket
import ssl
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final

import typer

from tallygate.cli.rpc import fail

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
    if bool(tls_cert) != bool(tls_key):
        fail("--tls-cert and --tls-key belong together; give both, or none for plain text")
    try:
        import uvicorn  # noqa: PLC0415  # comes with an extra
    except ModuleNotFoundError as error:
        fail(f"The proxy needs {error.name}, which comes with: pip install 'tallygate[cli,proxy]'", 2)
    app = _app(upstream, upstream_key_file, upstream_ca, silence)
    listener = _listener(listen)
    host, port = listener.getsockname()[:2]
    address = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
    print(f"serving http{'s' if tls_cert else ''}://{address}", flush=True)
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
        **_tls(tls_cert, tls_key),
    )
    uvicorn.Server(config).run(sockets=[listener])


def _listener(listen: str) -> socket.socket:
    """A socket at that address; what is wrong with it ends the command."""
    host, _, port = listen.rpartition(":")
    if not host or not port.isdecimal():
        fail(f"{listen!r} is no address; write HOST:PORT, such as 127.0.0.1:7480")
    bare = host.strip("[]")
    try:
        return socket.create_server((bare, int(port)), family=socket.AF_INET6 if ":" in bare else socket.AF_INET)
    except (OSError, OverflowError) as error:
        fail(f"the proxy cannot listen on {listen}: {error.strerror if isinstance(error, OSError) else error}")


def _tls(cert: str, key: str) -> dict[str, Any]:
    return {"ssl_certfile": cert, "ssl_keyfile": key} if cert else {}


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
        key = Path(key_file).read_text(encoding="utf-8").strip() if key_file else ""
        tls = ssl.create_default_context(cafile=ca) if ca else None
        served = ProxyApp(upstreams, ProxySettings(silence_s=silence_s, upstream_key=key, tls=tls))
        return breaking_off(MeteringMiddleware(served))
    except OSError as error:
        fail(f"{key_file or ca} cannot be read: {error.strerror or error}")
    except ValueError as error:
        fail(str(error))
