"""The options of this program, and the environment where an option is left out."""

import argparse
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import pairwise
from typing import Final

from metering_service.link_options import add_link_options, link_security_of, told
from metering_service.supervisor import own_address, worker_name
from tallygate._security import PLAIN, Security
from tallygate._server.database.url import POSTGRESQL, normalise_url
from tallygate._server.errors import ConfigurationError
from tallygate._server.grpc.listen import PORT_MAX, parse_listen, require_proof
from tallygate._server.grpc.tls import ServerTls
from tallygate._server.process.logs import LogFormat
from tallygate._server.process.options import Options
from tallygate._server.process.service_options import (
    TOLD_NOTHING,
    Telling,
    add_service_options,
    database_connections,
    database_url,
    log_format,
    telling,
)
from tallygate._server.process.tls_options import add_tls_options, require_all_safe, tls_of
from tallygate._wire.names import ID_MAX, NODE_ID

WORKERS_MAX: Final = 256
NODE_NAME: Final = re.compile(NODE_ID)
DATABASE_URL_VARIABLE: Final = "TALLYGATE_METERING_DATABASE_URL"
RECORD_DAY_COUNT: Final = 7
"""Number of days for which ids are kept, and so the least for which records of requests are."""
RECORD_DAY_COUNT_MAX: Final = 3_660
READ_DATABASE_URL_VARIABLE: Final = "TALLYGATE_METERING_READ_DATABASE_URL"
CONNECTION_COUNT: Final = 4
"""Number of connections of a node to PostgreSQL: its commits go one after the other."""
MINUTE_DAY_COUNT: Final = 90
MINUTE_DAY_COUNT_MAX: Final = 400
"""Maximum number of days for which usage is kept by minute: then it is by day."""
_FILE: Final = "metering.sqlite3"


@dataclass(frozen=True, slots=True)
class Settings:
    """Addresses are HOST:PORT; `control` may be several with commas. `insecure`: serve beyond loopback without TLS.

    `auth`: callers must prove who they are; also where something is said that only such a fleet has.

    With several workers, this process only watches them: `listen` is the port that they share, as is `mtls_listen` of
    `tls`. `shared_listen` is said to a worker by the supervisor; empty for a node that runs by itself.
    `record_day_count`: for how many days records of requests are kept; `minute_day_count`: usage by minute.
    `check`: end before anything is touched.
    """

    listen: str
    control: str
    node_name: str
    database_url: str = field(repr=False)
    database_connections: int
    read_database_url: str = field(repr=False)
    log_format: LogFormat
    insecure: bool
    tls: ServerTls | None = None
    auth: bool = False
    control_security: Security = PLAIN
    worker_count: int = 1
    shared_listen: str = ""
    record_day_count: int = RECORD_DAY_COUNT
    minute_day_count: int = MINUTE_DAY_COUNT
    telling: Telling = TOLD_NOTHING
    check: bool = False


def parse(arguments: Sequence[str], environment: Mapping[str, str]) -> Settings:
    """Read options and environment, and check all of them. Raises ConfigurationError; `--help` ends the program."""
    options = _options(environment).parse(arguments)
    tls = tls_of(options)
    if tls is not None:
        tls = replace(tls, shared_mtls_listen=options.shared_mtls_listen)
    require_all_safe(options, tls, options.shared_listen)
    security = link_security_of(options)
    auth = bool(options.auth or security.token_file or (tls and tls.client_ca_file))
    for address in (options.listen, options.mtls_listen, options.shared_listen, options.shared_mtls_listen):
        if address:
            require_proof(address, insecure=options.insecure, asks_for_proof=auth, remedy="--auth or --client-ca")
    if not 1 <= options.workers <= WORKERS_MAX:
        raise ConfigurationError(f"--workers is {options.workers}: use 1 to {WORKERS_MAX}, one for each core.")
    _require_days(options.record_days, options.minute_days)
    if not NODE_NAME.fullmatch(options.node_name):
        raise ConfigurationError(
            f'The node name "{options.node_name}" is not valid: use 1 to {ID_MAX} lower-case letters, digits '
            "and hyphens."
        )
    if options.workers > 1:
        _require_room(
            {
                "--listen": options.listen,
                "--mtls-listen": tls.mtls_listen if tls else "",
                "--metrics-listen": options.metrics_listen or "",
            },
            options.node_name,
            options.workers,
        )
    for address in options.control.split(","):
        host, _, port = address.strip().rpartition(":")
        if not host or not (port.isascii() and port.isdecimal()) or not 0 < int(port) <= PORT_MAX:
            raise ConfigurationError(
                f'"{address}" is no address of a control service; write HOST:PORT, or several with commas between.'
            )
    return Settings(
        listen=options.listen,
        control=options.control,
        node_name=options.node_name,
        database_url=database_url(options, _FILE),
        database_connections=database_connections(options),
        read_database_url=_read_database_url(options),
        log_format=log_format(options),
        insecure=options.insecure,
        tls=tls,
        auth=auth,
        control_security=security,
        worker_count=options.workers,
        shared_listen=options.shared_listen,
        record_day_count=options.record_days,
        minute_day_count=options.minute_days,
        telling=telling(options),
        check=options.check,
    )


def _options(environment: Mapping[str, str]) -> Options:
    options = Options(
        "python -m metering_service", "Tallygate's metering service: takes token reports, decides.", environment
    )
    options.add("--listen", "TALLYGATE_METERING_LISTEN", "127.0.0.1:7402", "address to listen on", metavar="HOST:PORT")
    options.add(
        "--control",
        "TALLYGATE_CONTROL_ADDRESS",
        "127.0.0.1:7401",
        "the control service, or several replicas of it with commas between",
        metavar="HOST:PORT",
    )
    add_link_options(options)
    options.add("--node-name", "TALLYGATE_NODE_NAME", "metering-1", "a name that no other node has", metavar="NAME")
    add_tls_options(options, mtls_variable="TALLYGATE_METERING_MTLS_LISTEN")
    options.add_switch("--auth", "TALLYGATE_AUTH", "let in nobody who has not proved who they are")
    add_service_options(
        options,
        file=_FILE,
        database_variable=DATABASE_URL_VARIABLE,
        metrics_variable="TALLYGATE_METERING_METRICS_LISTEN",
        connection_count=CONNECTION_COUNT,
        database_hint=", the same for all nodes",
    )
    options.add(
        "--read-database-url",
        READ_DATABASE_URL_VARIABLE,
        None,
        "a stand-by of that PostgreSQL, for reading usage where it is up to date",
        metavar="URL",
    )
    options.add(
        "--workers",
        "TALLYGATE_METERING_WORKERS",
        "1",
        "so many nodes on this machine, NAME-1 to NAME-N: one shared port, and a port each, the next ones",
        metavar="N",
        type=int,
    )
    options.add(
        "--record-days",
        "TALLYGATE_METERING_RECORD_DAYS",
        str(RECORD_DAY_COUNT),
        "for how many days records of requests are kept, the same for all nodes",
        metavar="N",
        type=int,
    )
    options.add(
        "--minute-days",
        "TALLYGATE_METERING_MINUTE_DAYS",
        str(MINUTE_DAY_COUNT),
        "for how many days usage is kept by minute, before it is by hour; the same for all nodes",
        metavar="N",
        type=int,
    )
    for hidden in ("--shared-listen", "--shared-mtls-listen"):
        options.parser.add_argument(hidden, default="", help=argparse.SUPPRESS)
    return options


def _require_days(record: int, minutes: int) -> None:
    """Refuse numbers of days that make no sense. Raises ConfigurationError."""
    if not RECORD_DAY_COUNT <= record <= RECORD_DAY_COUNT_MAX:
        raise ConfigurationError(
            f"--record-days is {record}: use {RECORD_DAY_COUNT}, for which ids are kept, to {RECORD_DAY_COUNT_MAX:,}."
        )
    if not 1 <= minutes <= MINUTE_DAY_COUNT_MAX:
        raise ConfigurationError(f"--minute-days is {minutes}: use 1 to {MINUTE_DAY_COUNT_MAX}.")


def _read_database_url(said: argparse.Namespace) -> str:
    """The database for reading; empty without one. Raises ConfigurationError."""
    if not said.read_database_url:
        return ""
    url = normalise_url(said.read_database_url)
    if not (url.startswith(POSTGRESQL) and database_url(said, _FILE).startswith(POSTGRESQL)):
        raise ConfigurationError("--read-database-url names a stand-by, so it and --database-url are both PostgreSQL.")
    return url


def _require_room(addresses_by_option: Mapping[str, str], node_name: str, worker_count: int) -> None:
    """Refuse what leaves a worker no port or no name. Raises ConfigurationError."""
    ports: list[tuple[int, str]] = []
    for option, address in addresses_by_option.items():
        _, port = parse_listen(address or "none:0")
        if port + worker_count > PORT_MAX:
            raise ConfigurationError(
                f"{option} {address} leaves no ports for {worker_count} workers, which have the next ones: use a port "
                f"up to {PORT_MAX - worker_count}."
            )
        ports += [(port, f"{option} {address}")] if port else []
    for (lower, one), (higher, other) in pairwise(sorted(ports)):
        if higher - lower <= worker_count:
            raise ConfigurationError(
                f"{one} and {other} leave too few ports between them for {worker_count} workers, which have the next "
                f"ones of both: use ports more than {worker_count} apart."
            )
    letters_max = ID_MAX - len(worker_name("", worker_count))
    if len(node_name) > letters_max:
        raise ConfigurationError(
            f'The node name "{node_name}" is too long for {worker_count} workers, which add their numbers to it: use '
            f"at most {letters_max} letters."
        )


def addresses(settings: Settings) -> list[str]:
    """All that this program listens on: with several workers, the ports that they share and each one's own."""
    shared = [settings.listen, *([settings.tls.mtls_listen] if settings.tls and settings.tls.mtls_listen else [])]
    for_metrics = [settings.telling.metrics_listen] if settings.telling.metrics_listen else []
    if settings.worker_count == 1:
        return [*shared, *for_metrics]
    numbers = range(1, settings.worker_count + 1)
    return [*shared, *(own_address(address, number) for address in (*shared, *for_metrics) for number in numbers)]


def common_options(settings: Settings) -> list[str]:
    """The options that all workers of this program have, but for `common_variables`."""
    options = ["--control", settings.control, "--log-format", settings.log_format]
    options += ["--database-connections", str(settings.database_connections)]
    options += ["--record-days", str(settings.record_day_count), "--minute-days", str(settings.minute_day_count)]
    options += ["--log-level", settings.telling.log_level, "--otlp-endpoint", settings.telling.otlp_endpoint]
    options += told(settings.control_security)
    if settings.tls is not None:
        options += ["--tls-cert", settings.tls.certificate_file, "--tls-key", settings.tls.key_file]
        options += ["--client-ca", settings.tls.client_ca_file]
    options += ["--auth"] if settings.auth else []
    return [*options, *(["--insecure"] if settings.insecure else [])]


def common_variables(settings: Settings) -> dict[str, str]:
    """What they are told by their environment, since everybody on a machine may read a program's options."""
    return {
        DATABASE_URL_VARIABLE: settings.database_url,
        READ_DATABASE_URL_VARIABLE: settings.read_database_url,
    }
