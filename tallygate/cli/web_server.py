"""Listeners and certificates of commands that serve HTTP."""

from __future__ import annotations

import socket
import ssl
from typing import Any

from tallygate.cli.rpc import fail


def listening(listen: str, who: str) -> socket.socket:
    """A socket at that address; what is wrong with it ends the command."""
    host, _, port = listen.rpartition(":")
    if not host or not port.isdecimal():
        fail(f"{listen!r} is no address; write HOST:PORT, such as 127.0.0.1:7480")
    bare = host.strip("[]")
    try:
        return socket.create_server((bare, int(port)), family=socket.AF_INET6 if ":" in bare else socket.AF_INET)
    except (OSError, OverflowError) as error:
        fail(f"{who} cannot listen on {listen}: {error.strerror if isinstance(error, OSError) else error}")


def web_address(listener: socket.socket, *, has_tls: bool) -> str:
    """The address that a browser or a client is given."""
    host, port = listener.getsockname()[:2]
    return f"http{'s' if has_tls else ''}://" + (f"[{host}]:{port}" if ":" in host else f"{host}:{port}")


def tls_files(cert: str, key: str) -> dict[str, Any]:
    """What uvicorn is told of TLS; files that cannot be used end the command."""
    if bool(cert) != bool(key):
        fail("--tls-cert and --tls-key belong together; give both, or none for plain text")
    if not cert:
        return {}
    try:
        ssl.create_default_context(ssl.Purpose.CLIENT_AUTH).load_cert_chain(cert, key)
    except OSError as error:
        fail(f"--tls-cert {cert} and --tls-key {key} cannot be used: {error.strerror or error}")
    return {"ssl_certfile": cert, "ssl_keyfile": key}
