"""Which proxy gRPC takes to an address, by the environment, and where it must not take one.

gRPC takes the proxy of `grpc_proxy`, `https_proxy` or `http_proxy` to every address, this machine's own included. It
does not know `NO_PROXY` in capitals, which most programs do, nor a `*` in it, and its errors give the address of the
proxy without a word that it is one. Here loopback is always reached directly, and so is what any spelling of `no_proxy`
excepts.
"""

from __future__ import annotations

import ipaddress
import os
import re
import socket
from collections.abc import Mapping
from typing import Final
from urllib.parse import urlsplit

PROXY_VARIABLES: Final = ("grpc_proxy", "https_proxy", "http_proxy")
"""The first that is set counts, also where it is empty and so means none."""
EXCEPTION_VARIABLES: Final = ("no_grpc_proxy", "no_proxy", "NO_PROXY")

_SOCKETS: Final = ("unix:", "unix-abstract:")
"""Prefixes of addresses in the file system; hosts may have names that begin with `unix`, too."""
_SCHEME: Final = re.compile(r"(?:dns|ipv4|ipv6|passthrough):(?://[^/]*/)?", re.IGNORECASE)
_Address = ipaddress.IPv4Address | ipaddress.IPv6Address


def channel_options(address: str, environment: Mapping[str, str] = os.environ) -> tuple[tuple[str, int], ...]:
    """Options for a channel to this address, `HOST:PORT`: without a proxy where none is to be taken."""
    return () if proxy_to(address, environment) else (("grpc.enable_http_proxy", 0),)


def by_way_of(address: str, environment: Mapping[str, str] = os.environ) -> str:
    """How an address is reached, to go after its name in an error; empty where it is reached directly."""
    proxy = proxy_to(address, environment)
    host, _ = _split(address)
    return f" by the proxy that the environment names ({proxy}; no_proxy={host} goes around it)" if proxy else ""


def proxy_to(address: str, environment: Mapping[str, str] = os.environ) -> str:
    """The proxy that is taken to this address, as `VARIABLE=VALUE` without credentials; empty where none is."""
    variable = next((name for name in PROXY_VARIABLES if name in environment), "")
    # gRPC does not speak to proxies by TLS or SOCKS, and goes around them without a word.
    if not variable or not environment[variable].lower().startswith("http://") or address.startswith(_SOCKETS):
        return ""
    host, port = _split(address)
    if _is_this_machine(host) or _is_excepted(host, port, environment):
        return ""
    return f"{variable}={_without_credentials(environment[variable])}"


def is_this_machine(address: str) -> bool:
    """Whether an address, `HOST:PORT` or a socket in the file system, is on this machine by its name."""
    host, _ = _split(address)
    return address.startswith(_SOCKETS) or _is_this_machine(host)


def _split(address: str) -> tuple[str, str]:
    """Host and port; a host that is an IPv6 address comes without its brackets."""
    bare = _SCHEME.sub("", address.strip(), count=1)
    host, colon, port = bare.rpartition(":")
    if not colon or (":" in host and not host.endswith("]")):
        host, port = bare, ""
    return host.strip("[]").rstrip(".").lower(), port


def _is_this_machine(host: str) -> bool:
    if host in ("localhost", "localhost.localdomain", "ip6-localhost", "ip6-loopback") or host.endswith(".localhost"):
        return True
    number = _number(host)
    if isinstance(number, ipaddress.IPv6Address) and number.ipv4_mapped is not None:
        number = number.ipv4_mapped
    return number is not None and (number.is_loopback or number.is_unspecified)


def _number(host: str) -> _Address | None:
    """The IP address that a host is; None for a name. IPv4 also in its short forms, such as 127.1."""
    try:
        return ipaddress.ip_address(host)
    except ValueError:
        pass
    try:
        return ipaddress.IPv4Address(socket.inet_aton(host))
    except (OSError, UnicodeError):
        return None


def _is_excepted(host: str, port: str, environment: Mapping[str, str]) -> bool:
    variable = next((name for name in EXCEPTION_VARIABLES if environment.get(name)), "")
    return any(_matches(host, port, entry.strip().lower()) for entry in environment.get(variable, "").split(","))


def _matches(host: str, port: str, entry: str) -> bool:
    if entry in ("", "*"):
        return entry == "*"
    network = _network(entry)
    if network is not None:
        number = _number(host)
        return number is not None and number in network
    entry_host, entry_port = _split(entry)
    name = entry_host.removeprefix("*").lstrip(".")
    return entry_port in ("", port) and bool(name) and (host == name or host.endswith(f".{name}"))


def _network(entry: str) -> ipaddress.IPv4Network | ipaddress.IPv6Network | None:
    try:
        return ipaddress.ip_network(entry, strict=False)
    except ValueError:
        return None


def _without_credentials(proxy: str) -> str:
    _, _, address = urlsplit(proxy).netloc.rpartition("@")
    return f"http://{address}"
