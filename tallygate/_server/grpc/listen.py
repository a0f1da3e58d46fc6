"""What address a server may listen on."""

import socket
from ipaddress import ip_address
from typing import Final

from tallygate._server.errors import ConfigurationError

PORT_MAX: Final = 65_535


def parse_listen(listen: str) -> tuple[str, int]:
    """Split `HOST:PORT` or `[IPV6]:PORT`; port 0 lets the system choose.

    Returns:
        The host as it was written, brackets included, and the port.

    Raises:
        ConfigurationError: it is no such address.
    """
    host, colon, port = listen.rpartition(":")
    if not (colon and host and port.isascii() and port.isdigit() and int(port) <= PORT_MAX):
        msg = f'"{listen}" is no address to listen on; write HOST:PORT, for example 127.0.0.1:7401.'
        raise ConfigurationError(msg)
    return host, int(port)


def require_safe(listen: str, *, insecure: bool, has_tls: bool = False) -> None:
    """Refuse to serve plain text to a network unless told to.

    Raises:
        ConfigurationError: the address is not a loopback address, and there is neither TLS nor `insecure`.
    """
    host, _ = parse_listen(listen)
    if has_tls or insecure or _is_loopback(host):
        return
    msg = (
        f'Refusing to listen on "{listen}" without TLS: anybody on that network could read and change everything; add '
        "--tls-cert and --tls-key (`tallygate tls init` makes both), or --insecure if the network itself is trusted."
    )
    raise ConfigurationError(msg)


def require_proof(listen: str, *, insecure: bool, asks_for_proof: bool, remedy: str) -> None:
    """Refuse to let everybody on a network do everything, unless told to. `remedy`: the options that ask for proof.

    Raises:
        ConfigurationError: the address is not a loopback address, and there is neither proof nor `insecure`.
    """
    host, _ = parse_listen(listen)
    if asks_for_proof or insecure or _is_loopback(host):
        return
    msg = (
        f'Refusing to listen on "{listen}" without asking callers who they are: anybody on that network could change '
        f"everything; add {remedy}, or --insecure if everybody on the network is trusted."
    )
    raise ConfigurationError(msg)


def require_free(listen: str) -> None:
    """See whether the address can be bound, because gRPC would not say why it cannot.

    Raises:
        ConfigurationError: another program has it, or it is no address of this machine.
    """
    host, port = parse_listen(listen)
    try:
        family, kind, *_, address = socket.getaddrinfo(_bare(host), port, type=socket.SOCK_STREAM)[0]
        with socket.socket(family, kind) as probe:
            # As gRPC does: connections of a predecessor that are still winding down do not count.
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind(address)
    except OSError as error:
        msg = f"Cannot listen on {listen}: {error.strerror}; choose another address, or stop the program that has it."
        raise ConfigurationError(msg) from error


def _bare(host: str) -> str:
    return host.removeprefix("[").removesuffix("]")


def _is_loopback(host: str) -> bool:
    if host == "localhost":
        return True
    try:
        return ip_address(_bare(host)).is_loopback
    except ValueError:
        return False
