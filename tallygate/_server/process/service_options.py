"""The options that every service has: its database, its logs, its metrics, and whether it may be unsafe."""

import argparse
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Final, cast

from tallygate._server.database.url import normalise_url
from tallygate._server.errors import ConfigurationError
from tallygate._server.grpc.listen import parse_listen
from tallygate._server.process.logs import LogFormat, parse_levels
from tallygate._server.process.options import Options

CONNECTION_COUNT_MIN: Final = 3
"""Number of connections that a program needs: for writing, for reading, and for small reads."""
CONNECTION_COUNT_MAX: Final = 1_000
"""Maximum number of connections: more is a mistake."""
_LOG_FORMATS: Final = ("json", "text")
_LOG_FORMAT_VARIABLE: Final = "TALLYGATE_LOG_FORMAT"
_LOG_LEVEL_VARIABLE: Final = "TALLYGATE_LOG_LEVEL"


def add_service_options(
    options: Options,
    *,
    file: str,
    database_variable: str,
    connection_count: int,
    metrics_variable: str,
    database_hint: str = "",
) -> None:
    """Add them.

    `file`: the SQLite database's, in the data directory. `database_variable` says its URL, and the beginning of what
    other variables are called. `connection_count`: unless another is said. `database_hint`: more of its URL.
    """
    options.add(
        "--data-dir",
        "TALLYGATE_DATA_DIR",
        "tallygate-data",
        f"directory of {file}, unless a database is named",
        metavar="DIR",
    )
    meaning = f"sqlite:///PATH or postgresql://USER:PASSWORD@HOST:PORT/DATABASE{database_hint}"
    options.add("--database-url", database_variable, None, meaning, metavar="URL")
    options.add(
        "--database-connections",
        database_variable.removesuffix("URL") + "CONNECTIONS",
        str(connection_count),
        f"so many connections to PostgreSQL at most, {CONNECTION_COUNT_MIN} or more",
        metavar="N",
        type=int,
    )
    options.add("--log-format", _LOG_FORMAT_VARIABLE, "json", "for programs or for people", choices=_LOG_FORMATS)
    options.add(
        "--log-level",
        _LOG_LEVEL_VARIABLE,
        "info",
        "debug, info, warning or error; and, with commas between, MODULE=LEVEL for single modules",
        metavar="LEVEL",
    )
    options.add(
        "--metrics-listen",
        metrics_variable,
        None,
        "address at which Prometheus scrapes metrics, by plain HTTP and without proof: keep it off public networks",
        metavar="HOST:PORT",
    )
    options.add(
        "--otlp-endpoint",
        "OTEL_EXPORTER_OTLP_ENDPOINT",
        None,
        "OpenTelemetry collector that metrics and traces are sent to by gRPC",
        metavar="URL",
    )
    options.add_switch("--insecure", "TALLYGATE_INSECURE", "listen beyond loopback without TLS")


def database_url(said: argparse.Namespace, file: str) -> str:
    """The database that is named, or the file in the data directory. Raises ConfigurationError."""
    path = Path(said.data_dir).absolute() / file
    return normalise_url(said.database_url or f"sqlite:///{path}")


def database_connections(said: argparse.Namespace) -> int:
    """Number of connections at most. Raises ConfigurationError."""
    count = int(said.database_connections)
    if not CONNECTION_COUNT_MIN <= count <= CONNECTION_COUNT_MAX:
        raise ConfigurationError(
            f"--database-connections is {count}: use {CONNECTION_COUNT_MIN} to {CONNECTION_COUNT_MAX}, and for all "
            "programs together fewer than max_connections of PostgreSQL."
        )
    return count


def log_format(said: argparse.Namespace) -> LogFormat:
    """The form of logs. Raises ConfigurationError: argparse does not check what the environment says."""
    if said.log_format not in _LOG_FORMATS:
        raise ConfigurationError(f'{_LOG_FORMAT_VARIABLE} is "{said.log_format}": use json or text.')
    return cast("LogFormat", said.log_format)


@dataclass(frozen=True, slots=True)
class Telling:
    """How a service is watched: levels of its logs as they are written, where metrics are scraped or sent to."""

    log_level: str = "info"
    metrics_listen: str = ""
    otlp_endpoint: str = ""

    @property
    def is_asked_for(self) -> bool:
        """Whether anybody is told of metrics."""
        return bool(self.metrics_listen or self.otlp_endpoint)


TOLD_NOTHING: Final = Telling()


def _has_otel() -> bool:
    try:
        return find_spec("opentelemetry.exporter.otlp.proto.grpc") is not None
    except ModuleNotFoundError:
        return False


def telling(said: argparse.Namespace) -> Telling:
    """What was said of it. Raises ConfigurationError."""
    parse_levels(said.log_level)
    if said.metrics_listen:
        parse_listen(said.metrics_listen)
    endpoint = said.otlp_endpoint or ""
    if endpoint and not endpoint.startswith(("http://", "https://")):
        raise ConfigurationError(f'--otlp-endpoint is "{endpoint}": write http://HOST:PORT, or https:// for TLS.')
    if endpoint and not _has_otel():
        raise ConfigurationError("--otlp-endpoint needs OpenTelemetry: pip install 'tallygate[server,otel]'.")
    return Telling(said.log_level, said.metrics_listen or "", endpoint)
