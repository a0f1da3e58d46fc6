"""Settings of the middleware by environment variables, where a server makes it with nothing but its app."""

from __future__ import annotations

import difflib
import re
from collections.abc import Callable, Mapping
from importlib.util import find_spec
from pathlib import Path

from tallygate._channel import Channels
from tallygate._pem import PemError
from tallygate._security import VARIABLES, security_from
from tallygate.client import ClientSettings, MeteringClient
from tallygate.client.settings import OnUnreachable
from tallygate.integrations.openai.usage_options import StreamUsage
from tallygate.integrations.routes import SETTING, Routes, parse_routes
from tallygate.integrations.services import ServiceResolver, by_key, load_service_map, service_resolver

ADDRESSES = "TALLYGATE_METERING_ADDRESSES"
SERVICE = "TALLYGATE_SERVICE"
SERVICES = "TALLYGATE_SERVICES"
ON_UNREACHABLE = "TALLYGATE_ON_UNREACHABLE"
ANSWER_MS = "TALLYGATE_ANSWER_MS"
STREAM_USAGE = "TALLYGATE_STREAM_USAGE"
COUNT_INPUT = "TALLYGATE_COUNT_INPUT"
WHOLE_ANSWERS = "TALLYGATE_WHOLE_ANSWERS"
METRICS = "TALLYGATE_METRICS"
BODY_BYTES_MAX = "TALLYGATE_BODY_BYTES_MAX"

LOG_LEVEL = "TALLYGATE_LOG_LEVEL"

BODY_BYTES_MAX_DEFAULT = 32 << 20

_LEVELS = ("DEBUG", "INFO", "WARNING", "ERROR", "CRITICAL")
_ADDRESS = re.compile(r"(?:[a-z0-9]+:(?://[^/]*/)?)?(?:\[[0-9a-fA-F:.]+\]|[^\s:/\[\]]+):(\d{1,5})|unix:.+")
_PORT_MAX = 65_535


def client_from(environment: Mapping[str, str]) -> MeteringClient:
    """A client as the environment describes it.

    Raises:
        ValueError: A variable is missing or has a value that it cannot have; the message names it.
    """
    return MeteringClient(
        addresses_from(environment),
        settings=ClientSettings(answer_ms=answer_ms_from(environment)),
        on_unreachable=policy_from(environment),
        security=channels_from(environment).security,
    )


def channels_from(environment: Mapping[str, str]) -> Channels:
    """The way to metering nodes: by TLS and with a token, or without.

    Raises:
        ValueError: As of `client_from`.
    """
    security = security_from(environment)
    try:
        channels = Channels(security)
    except PemError as error:
        said = ", ".join(name for name in VARIABLES if environment.get(name))
        raise ValueError(f"{said}: {error}") from error
    for address in environment.get(ADDRESSES, "").split(","):
        try:
            channels.check(address.strip())
        except ValueError as error:
            raise ValueError(f"{VARIABLES.ca} is not set: {error}") from error
    return channels


def addresses_from(environment: Mapping[str, str]) -> tuple[str, ...]:
    """Where metering nodes are.

    Raises:
        ValueError: As of `client_from`.
    """
    addresses = tuple(part.strip() for part in environment.get(ADDRESSES, "").split(",") if part.strip())
    if not addresses:
        raise ValueError(f"{ADDRESSES} is not set: say where metering nodes are, HOST:PORT,HOST:PORT")
    for address in addresses:
        match = _ADDRESS.fullmatch(address)
        if not match or int(match[1] or 1) not in range(1, _PORT_MAX + 1):
            raise ValueError(f"{ADDRESSES} has {address}: write HOST:PORT, with commas between several")
    return addresses


def policy_from(environment: Mapping[str, str]) -> OnUnreachable:
    """What becomes of requests while no node answers.

    Raises:
        ValueError: As of `client_from`.
    """
    return "allow" if _is_second(environment, ON_UNREACHABLE, "deny", "allow") else "deny"


def answer_ms_from(environment: Mapping[str, str]) -> int:
    """How long a node's answer is waited for, in milliseconds.

    Raises:
        ValueError: As of `client_from`.
    """
    return _integer(environment, ANSWER_MS, ClientSettings().answer_ms)


def services_from(environment: Mapping[str, str]) -> ServiceResolver:
    """A resolver as the environment describes it.

    Raises:
        ValueError: As of `client_from`.
    """
    service, services = environment.get(SERVICE, ""), environment.get(SERVICES, "")
    if not (service or services):
        return by_key
    if service and services:
        raise ValueError(
            f"set one of {SERVICE} (one service for all requests) and {SERVICES} (a file that maps keys), or neither: "
            "then requests go where their API keys lead"
        )
    try:
        return load_service_map(Path(services)) if services else service_resolver(service)
    except ValueError as error:
        raise ValueError(f"{SERVICES if services else SERVICE}: {error}") from error


def tells_metrics_from(environment: Mapping[str, str]) -> bool:
    """Whether the middleware tells metrics to the registry of this process.

    Raises:
        ValueError: As of `client_from`; also where prometheus_client is missing.
    """
    tells = _is_second(environment, METRICS, "0", "1")
    if tells and find_spec("prometheus_client") is None:
        raise ValueError(f"{METRICS} is 1, but prometheus_client is not installed: pip install 'tallygate[metrics]'")
    return tells


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
    """The way in which streams are made to report their usage.

    Raises:
        ValueError: As of `client_from`.
    """
    text = environment.get(STREAM_USAGE, StreamUsage.RUNNING.value)
    try:
        return StreamUsage(text)
    except ValueError:
        known = ", ".join(usage.value for usage in StreamUsage)
        raise ValueError(f"{STREAM_USAGE} is {text}: write one of {known}") from None


def server_counts_input_from(environment: Mapping[str, str]) -> bool:
    """Whether the server's own tokenizer counts a request's input before it runs.

    Raises:
        ValueError: As of `client_from`.
    """
    return _is_second(environment, COUNT_INPUT, "estimate", "server")


def streams_whole_from(environment: Mapping[str, str]) -> bool:
    """Whether whole answers are fetched as streams, and put together.

    Raises:
        ValueError: As of `client_from`.
    """
    return _is_second(environment, WHOLE_ANSWERS, "hold", "stream")


def log_level_from(environment: Mapping[str, str]) -> str:
    """The level of the logger `tallygate`; empty where nothing is said.

    Raises:
        ValueError: As of `client_from`.
    """
    # The services' own levels of single modules may be beside it.
    levels = (part.strip() for part in environment.get(LOG_LEVEL, "").split(","))
    level = next((one.upper() for one in levels if "=" not in one), "")
    if level and level not in _LEVELS:
        raise ValueError(f"{LOG_LEVEL} is {level}: write one of {', '.join(_LEVELS)}")
    return level


_READERS: tuple[tuple[tuple[str, ...], Callable[[Mapping[str, str]], object]], ...] = (
    ((ADDRESSES,), addresses_from),
    (VARIABLES, channels_from),
    ((SERVICE, SERVICES), services_from),
    ((ON_UNREACHABLE,), policy_from),
    ((ANSWER_MS,), answer_ms_from),
    ((BODY_BYTES_MAX,), body_bytes_max_from),
    ((STREAM_USAGE,), stream_usage_from),
    ((COUNT_INPUT,), server_counts_input_from),
    ((WHOLE_ANSWERS,), streams_whole_from),
    ((METRICS,), tells_metrics_from),
    ((SETTING,), routes_from),
    ((LOG_LEVEL,), log_level_from),
)
"""Readers of settings, with the variables that each reads."""


def mistakes_in(environment: Mapping[str, str]) -> list[str]:
    """All that is wrong or missing, a sentence each, also names that resemble those of variables."""
    found = [_mistake(reader, environment) for _, reader in _READERS]
    known = [name for names, _ in _READERS for name in names]
    for name in environment:
        if name.startswith("TALLYGATE_") and name not in known:
            meant = difflib.get_close_matches(name, known, n=1, cutoff=0.9)
            found += [f"{name} is not known: write {meant[0]}"] if meant else []
    return [mistake for mistake in found if mistake]


def check_what_is_set(environment: Mapping[str, str]) -> None:
    """Checks those variables that are set; others may be replaced by arguments.

    Raises:
        ValueError: As of `client_from`.
    """
    for names, reader in _READERS:
        is_set = any(environment.get(name, "").strip(", ") for name in names)
        if is_set and (mistake := _mistake(reader, environment)):
            raise ValueError(mistake)


def _mistake(reader: Callable[[Mapping[str, str]], object], environment: Mapping[str, str]) -> str:
    try:
        reader(environment)
    except ValueError as error:
        return str(error)
    return ""


def _is_second(environment: Mapping[str, str], name: str, first: str, second: str) -> bool:
    """Whether a variable that has one of two values, by default the first, has the second."""
    text = environment.get(name, first)
    if text not in {first, second}:
        raise ValueError(f"{name} is {text}: write {first} or {second}")
    return text == second


def _integer(environment: Mapping[str, str], name: str, default: int) -> int:
    text = environment.get(name, "")
    if not text:
        return default
    if not text.isdecimal() or not int(text):
        raise ValueError(f"{name} is {text}: write a whole number above 0")
    return int(text)
