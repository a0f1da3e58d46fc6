"""Database URLs as people write them. Imports little: options are checked before anything else is loaded."""

import re
from typing import Final

from sqlalchemy.engine.url import make_url
from sqlalchemy.exc import ArgumentError

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
_POSTGRESQL_OPTIONS: Final = frozenset(
    {
        "database",
        "gsslib",
        "host",
        "krbsrvname",
        "passfile",
        "password",
        "port",
        "prepared_statement_cache_size",
        "service",
        "servicefile",
        "ssl",
        "target_session_attrs",
        "user",
    }
)
"""Options of asyncpg that can be written as text."""


def normalise_url(url: str) -> str:
    """The URL with the driver that this program brings.

    Args:
        url: `sqlite:///PATH` (four slashes for an absolute path) or `postgresql://USER:PASSWORD@HOST:PORT/DATABASE`.

    Raises:
        ConfigurationError: it is neither, or a SQLite database without a file.
    """
    hint = "write sqlite:///PATH or postgresql://USER:PASSWORD@HOST:PORT/DATABASE."
    try:
        parsed = make_url(url)
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
        _require_clear(url)
    return parsed.set(drivername=driver).render_as_string(hide_password=False)


def _require_clear(url: str) -> None:
    """Refuse what may be part of a password and was read as something else, which errors would then name.

    Raises:
        ConfigurationError: there is an @ behind that which ends the password, or an option that the driver has not.
    """
    match = _BEHIND_PASSWORD.match(url)
    place, _, options = (match[1] if match else url).partition("?")
    names = {option.partition("=")[0] for option in options.split("&") if option}
    if "@" in place or any("@" in name for name in names):
        msg = (
            "The database URL cannot be read for certain: it has an @ behind the one before its host; write %40 for an "
            "@ in the password or the database's name."
        )
        raise ConfigurationError(msg)
    if not names <= _POSTGRESQL_OPTIONS:
        known = ", ".join(sorted(_POSTGRESQL_OPTIONS))
        raise ConfigurationError(f"The database URL has an option that there is not; there are {known}.")
