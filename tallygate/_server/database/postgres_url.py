"""URLs of PostgreSQL as libpq has them: several hosts, and parameters. Imports little, as `url` does."""

import difflib
import re
from collections.abc import Mapping
from typing import Final, TypeAlias

from sqlalchemy.engine.url import URL

from tallygate._server.errors import ConfigurationError

Place: TypeAlias = tuple[str, int | None]
"""Host, or directory of a socket, and port."""

_CHOICES: Final[Mapping[str, frozenset[str]]] = {
    "sslmode": frozenset({"disable", "allow", "prefer", "require", "verify-ca", "verify-full"}),
    "sslnegotiation": frozenset({"postgres", "direct"}),
    "target_session_attrs": frozenset(
        {"any", "read-write", "read-only", "primary", "standby", "prefer-standby"},
    ),
}
"""Choices of parameters that have few."""
TLS_PARAMETERS: Final = frozenset(
    {
        "sslcert",
        "sslcrl",
        "sslkey",
        "sslmode",
        "sslnegotiation",
        "sslpassword",
        "sslrootcert",
        "ssl_max_protocol_version",
        "ssl_min_protocol_version",
    }
)
"""Parameters that asyncpg takes from a URL only."""
DRIVER_PARAMETERS: Final = frozenset({"gsslib", "krbsrvname", "passfile", "password", "service", "servicefile", "user"})
"""Parameters that asyncpg takes as arguments of the same names."""
SERVER_PARAMETERS: Final = frozenset({"application_name", "options"})
"""Parameters that the server is told when a connection begins; poolers pass the first one."""
_FILES: Final = ("sslcert", "sslcrl", "sslkey", "sslrootcert")
_KNOWN: Final = (
    TLS_PARAMETERS
    | DRIVER_PARAMETERS
    | SERVER_PARAMETERS
    | {"connect_timeout", "database", "dbname", "host", "port", "ssl", "target_session_attrs"}
)
_SEVERAL: Final = re.compile(
    r"(postgres(?:ql)?(?:\+\w+)?://(?:[^:/]*(?::[^@]*)?@)?+)([^/?]*,[^/?]*)(/[^?]*)?(?:\?(.*))?", re.DOTALL
)
"""Form of a URL with several hosts: what is before them, as SQLAlchemy has it; hosts; database; parameters."""
_PLACE: Final = re.compile(r"\[([^\]]+)\](?::([0-9]{1,5}))?|([^:]+)(?::([0-9]{1,5}))?")


def hosts_as_parameters(url: str) -> str:
    """The same URL with several hosts, where they are written with commas before the database, as parameters."""
    match = _SEVERAL.fullmatch(url)
    if match is None:
        return url
    begin, hosts, database, parameters = match.groups(default="")
    named = [f"host={host}" for host in hosts.split(",")]
    return f"{begin}{database}?{'&'.join([*named, *([parameters] if parameters else [])])}"


def places_of(url: URL) -> list[Place]:
    """All hosts, in order; none where the environment or a service file says them. Raises ConfigurationError."""
    hosts = _several(url, "host") or ([url.host] if url.host else [])
    ports = _several(url, "port") or ([str(url.port)] if url.port else [])
    if len(ports) > 1 and len(ports) != len(hosts):
        raise ConfigurationError(f"The database URL has {len(hosts)} hosts and {len(ports)} ports; give each its own.")
    if len(ports) < len(hosts):
        ports = (ports or [""]) * len(hosts)
    return [_place(host, port) for host, port in zip(hosts, ports, strict=False)]


def check_parameters(url: URL, *, may_name: bool) -> None:
    """Refuse parameters that cannot work; `may_name`: an unknown one's name is surely no part of a password.

    Raises:
        ConfigurationError: there is no such parameter, it cannot have this value, or its file cannot be read.
    """
    unknown = next((name for name in url.query if name not in _KNOWN), None)
    if unknown is not None:
        near = difflib.get_close_matches(unknown, _KNOWN, 1)
        named = f'the parameter "{unknown}"' if may_name else "a parameter"
        remedy = f"did you mean {near[0]}?" if near and may_name else f"there are {', '.join(sorted(_KNOWN))}."
        raise ConfigurationError(f"The database URL has {named}, which is not supported; {remedy}")
    for name, choices in _CHOICES.items():
        value = parameter(url, "sslmode" if name == "ssl" else name)
        if value and value not in choices:
            raise ConfigurationError(f"{name} of the database URL cannot be that; use {', '.join(sorted(choices))}.")
    timeout_s = parameter(url, "connect_timeout")
    if timeout_s and not re.fullmatch("[1-9][0-9]{0,3}", timeout_s):
        raise ConfigurationError("connect_timeout of the database URL is a number of seconds from 1 to 9999.")
    for name in _FILES:
        _require_readable(name, parameter(url, name))
    places_of(url)


def parameter(url: URL, name: str) -> str:
    """The last value that the URL has for it, as libpq takes it; empty without one."""
    value = url.query.get(name, "")
    return value if isinstance(value, str) else value[-1]


def _several(url: URL, name: str) -> list[str]:
    value = url.query.get(name, ())
    return [one for text in ([value] if isinstance(value, str) else value) for one in text.split(",")]


def _place(host: str, port: str) -> Place:
    if not host.startswith("/"):
        match = _PLACE.fullmatch(host)
        host, port = (match[1] or match[3], match[2] or match[4] or port) if match else ("", "")
    if not host or (port and not re.fullmatch("[0-9]{1,5}", port)):
        msg = "The database URL has a host that cannot be read; write HOST:PORT, or several with commas between."
        raise ConfigurationError(msg)
    return host, int(port) if port else None


def _require_readable(name: str, path: str) -> None:
    if not path:
        return
    try:
        with open(path, "rb"):  # noqa: PTH123  # whether it can be opened
            return
    except OSError as error:
        raise ConfigurationError(
            f"The file {path}, {name} of the database URL, cannot be read: {error.strerror}."
        ) from error
