"""Database URLs as people write them. Imports little: options are checked before anything else is loaded."""

import re
from typing import Final

from sqlalchemy.engine.url import make_url
from sqlalchemy.exc import ArgumentError

from tallygate._server.database.postgres_url import check_parameters, hosts_as_parameters
from tallygate._server.errors import ConfigurationError

SQLITE: Final = "sqlite+aiosqlite"
POSTGRESQL: Final = "postgresql+asyncpg"
_DRIVERS: Final = {
    "sqlite": SQLITE,
    SQLITE: SQLITE,
    "postgres": POSTGRESQL,
    "postgresql": POSTGRESQL,
    POSTGRESQL: POSTGRESQL,
}
_BEHIND_PASSWORD: Final = re.compile(r"[\w+]+://(?:[^:/]*(?::[^@]*)?@)?(.*)", re.DOTALL)
"""As SQLAlchemy has it: a user without : and /, a password without @."""


def normalise_url(url: str) -> str:
    """The URL with the driver that this program brings, and several hosts as parameters.

    Args:
        url: `sqlite:///PATH` (four slashes for an absolute path) or `postgresql://USER:PASSWORD@HOST:PORT/DATABASE`,
            also with several HOST:PORT and with libpq's parameters.

    Raises:
        ConfigurationError: it is neither, a SQLite database without a file, or has a parameter that cannot work.
    """
    hint = "write sqlite:///PATH or postgresql://USER:PASSWORD@HOST:PORT/DATABASE."
    try:
        parsed = make_url(hosts_as_parameters(url))
    except (ArgumentError, ValueError):  # The URL itself, so the cause too, may hold a password and is not repeated.
        msg = f"The database URL cannot be read; {hint}"
        raise ConfigurationError(msg) from None
    driver = _DRIVERS.get(parsed.drivername)
    if driver is None:
        msg = f'The database URL begins with "{parsed.drivername}", which is not supported; {hint}'
        raise ConfigurationError(msg)
    if driver == SQLITE and parsed.database in (None, "", ":memory:"):
        msg = "The database URL names no file, and a database in memory would be lost; write sqlite:///PATH."
        raise ConfigurationError(msg)
    if driver == POSTGRESQL:
        check_parameters(parsed, may_name=_require_clear(url))
    return parsed.set(drivername=driver).render_as_string(hide_password=False)


def _require_clear(url: str) -> bool:
    """Refuse what may be part of a password and was read as something else, which errors would then name.

    Returns whether nothing behind the password can be a part of it: where there is no further @, which would end it.

    Raises:
        ConfigurationError: there is an @ behind that which ends the password.
    """
    match = _BEHIND_PASSWORD.match(url)
    behind = match[1] if match else url
    place, _, parameters = behind.partition("?")
    names = {parameter.partition("=")[0] for parameter in parameters.split("&") if parameter}
    if "@" in place or any("@" in name for name in names):
        msg = (
            "The database URL cannot be read for certain: it has an @ behind the one before its host; write %40 for an "
            "@ in the password or the database's name."
        )
        raise ConfigurationError(msg)
    return "@" not in behind
