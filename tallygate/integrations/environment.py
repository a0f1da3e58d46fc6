"""What the middleware is told by environment variables, where a server makes it with nothing but its app."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from tallygate.client import ClientSettings, MeteringClient
from tallygate.integrations.openai.usage_options import StreamUsage
from tallygate.integrations.routes import SETTING, Routes, parse_routes
from tallygate.integrations.services import ServiceResolver, load_service_map, service_resolver

ADDRESSES = "TALLYGATE_METERING_ADDRESSES"
SERVICE = "TALLYGATE_SERVICE"
SERVICES = "TALLYGATE_SERVICES"
ON_UNREACHABLE = "TALLYGATE_ON_UNREACHABLE"
ANSWER_MS = "TALLYGATE_ANSWER_MS"
STREAM_USAGE = "TALLYGATE_STREAM_USAGE"
BODY_BYTES_MAX = "TALLYGATE_BODY_BYTES_MAX"

BODY_BYTES_MAX_DEFAULT = 32 << 20


def client_from(environment: Mapping[str, str]) -> MeteringClient:
    """A client as the environment describes it.

    Raises:
        ValueError: A variable is missing or has a value that it cannot have; the message names it.
    """
    addresses = environment.get(ADDRESSES, "")
    if not addresses.strip(", "):
        raise ValueError(f"{ADDRESSES} is not set: say where metering nodes are, HOST:PORT,HOST:PORT")
    settings = ClientSettings(answer_ms=_integer(environment, ANSWER_MS, ClientSettings().answer_ms))
    policy = environment.get(ON_UNREACHABLE, "deny")
    if policy == "allow":
        return MeteringClient(addresses, settings=settings, on_unreachable="allow")
    if policy != "deny":
        raise ValueError(f"{ON_UNREACHABLE} is {policy}: write deny or allow")
    return MeteringClient(addresses, settings=settings)


def services_from(environment: Mapping[str, str]) -> ServiceResolver:
    """A resolver as the environment describes it.

    Raises:
        ValueError: As of `client_from`.
    """
    service, services = environment.get(SERVICE, ""), environment.get(SERVICES, "")
    if bool(service) == bool(services):
        raise ValueError(f"set one of {SERVICE} (one service for all requests) and {SERVICES} (a file that maps keys)")
    if services:
        return load_service_map(Path(services))
    try:
        return service_resolver(service)
    except ValueError as error:
        raise ValueError(f"{SERVICE}: {error}") from error


def body_bytes_max_from(environment: Mapping[str, str]) -> int:
    """How long a request's body may be.

    Raises:
        ValueError: As of `client_from`.
    """
    return _integer(environment, BODY_BYTES_MAX, BODY_BYTES_MAX_DEFAULT)


def routes_from(environment: Mapping[str, str]) -> Routes:
    """What becomes of which request.

    Raises:
        ValueError: As of `client_from`.
    """
    try:
        return parse_routes(environment.get(SETTING, ""))
    except ValueError as error:
        raise ValueError(f"{SETTING}: {error}") from error


def stream_usage_from(environment: Mapping[str, str]) -> StreamUsage:
    """How streams are made to say their usage.

    Raises:
        ValueError: As of `client_from`.
    """
    text = environment.get(STREAM_USAGE, StreamUsage.RUNNING.value)
    try:
        return StreamUsage(text)
    except ValueError:
        known = ", ".join(usage.value for usage in StreamUsage)
        raise ValueError(f"{STREAM_USAGE} is {text}: write one of {known}") from None


def _integer(environment: Mapping[str, str], name: str, default: int) -> int:
    text = environment.get(name, "")
    if not text:
        return default
    if not text.isdecimal() or not int(text):
        raise ValueError(f"{name} is {text}: write a whole number above 0")
    return int(text)
