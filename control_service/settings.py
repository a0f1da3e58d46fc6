"""What this program is told: options, and the environment where an option is left out."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, cast

from tallygate._server.database.url import normalise_url
from tallygate._server.errors import ConfigurationError
from tallygate._server.grpc.listen import require_safe
from tallygate._server.process.logs import LogFormat
from tallygate._server.process.options import Options

_LOG_FORMATS: Final = ("json", "text")


@dataclass(frozen=True, slots=True)
class Settings:
    """`listen` is HOST:PORT. `insecure`: serve beyond loopback without TLS. `check`: end before anything is touched."""

    listen: str
    database_url: str = field(repr=False)
    log_format: LogFormat
    insecure: bool
    check: bool = False


def parse(arguments: Sequence[str], environment: Mapping[str, str]) -> Settings:
    """Read options and environment, and check all of them. Raises ConfigurationError; `--help` ends the program."""
    options = _options(environment).parse(arguments)
    require_safe(options.listen, insecure=options.insecure)
    if options.log_format not in _LOG_FORMATS:
        raise ConfigurationError(f'TALLYGATE_LOG_FORMAT is "{options.log_format}"; write json or text.')
    path = Path(options.data_dir).absolute() / "control.sqlite3"
    return Settings(
        listen=options.listen,
        database_url=normalise_url(options.database_url or f"sqlite:///{path}"),
        log_format=cast("LogFormat", options.log_format),
        insecure=options.insecure,
        check=options.check,
    )


def _options(environment: Mapping[str, str]) -> Options:
    options = Options(
        "python -m control_service",
        "Tallygate's control service: accounts, catalogue, inference services, leases, the ledger.",
        environment,
    )
    options.add("--listen", "TALLYGATE_CONTROL_LISTEN", "127.0.0.1:7401", "address to listen on", metavar="HOST:PORT")
    options.add(
        "--data-dir",
        "TALLYGATE_DATA_DIR",
        "tallygate-data",
        "directory of control.sqlite3, unless a database is named",
        metavar="DIR",
    )
    options.add(
        "--database-url",
        "TALLYGATE_CONTROL_DATABASE_URL",
        None,
        "sqlite:///PATH or postgresql://USER:PASSWORD@HOST:PORT/DATABASE",
        metavar="URL",
    )
    options.add("--log-format", "TALLYGATE_LOG_FORMAT", "json", "for programs or for people", choices=_LOG_FORMATS)
    options.add_switch("--insecure", "TALLYGATE_INSECURE", "listen beyond loopback without TLS")
    return options
