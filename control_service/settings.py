"""What this program is told: options, and the environment where an option is left out."""

import argparse
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final, cast

from tallygate._server.errors import ConfigurationError
from tallygate._server.logs import LogFormat

_LOG_FORMATS: Final = ("json", "text")


@dataclass(frozen=True, slots=True)
class Settings:
    """`listen` is HOST:PORT. `insecure`: serve beyond loopback without TLS."""

    listen: str
    database_url: str
    log_format: LogFormat
    insecure: bool


def parse(arguments: Sequence[str], environment: Mapping[str, str]) -> Settings:
    """Read options and environment. Raises ConfigurationError; argparse ends the program on unknown options."""
    parser = argparse.ArgumentParser(
        prog="python -m control_service",
        description="Tallygate's control service: accounts, catalogue, inference services, leases, the ledger.",
    )
    told = environment.get
    parser.add_argument("--listen", metavar="HOST:PORT", default=told("TALLYGATE_CONTROL_LISTEN", "127.0.0.1:7401"))
    parser.add_argument(
        "--data-dir",
        metavar="DIR",
        default=told("TALLYGATE_DATA_DIR", "tallygate-data"),
        help="directory of control.sqlite3, unless a database is named",
    )
    parser.add_argument(
        "--database-url",
        metavar="URL",
        default=told("TALLYGATE_CONTROL_DATABASE_URL"),
        help="sqlite:///PATH or postgresql://USER:PASSWORD@HOST:PORT/DATABASE",
    )
    parser.add_argument("--log-format", choices=_LOG_FORMATS, default=told("TALLYGATE_LOG_FORMAT", "json"))
    parser.add_argument("--insecure", action="store_true", help="listen beyond loopback without TLS")
    options = parser.parse_args(arguments)
    if options.log_format not in _LOG_FORMATS:
        raise ConfigurationError(f'TALLYGATE_LOG_FORMAT is "{options.log_format}"; write json or text.')
    path = Path(options.data_dir).absolute() / "control.sqlite3"
    return Settings(
        listen=options.listen,
        database_url=options.database_url or f"sqlite:///{path}",
        log_format=cast("LogFormat", options.log_format),
        insecure=options.insecure,
    )
