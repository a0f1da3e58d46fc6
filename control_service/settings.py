"""Settings of this program: options, and the environment where an option is left out."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

from control_service.access_settings import OPEN, AccessSettings, access_of, add_access_options
from control_service.domain.kept_days import USUAL, KeptDays
from tallygate._server.errors import ConfigurationError
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

_FILE: Final = "control.sqlite3"
CONNECTION_COUNT: Final = 8
"""Number of connections of a replica to PostgreSQL: each call that writes has one while it does."""
AUDIT_DAY_COUNT_MAX: Final = 36_500
"""Maximum number of days that an audit entry can be kept: a hundred years."""
MINUTE_DAY_COUNT_MAX: Final = 400
"""Maximum number of days of usage by minute: then it is by day."""


@dataclass(frozen=True, slots=True)
class Settings:
    """`listen` is HOST:PORT. `insecure`: serve other addresses than loopback without TLS. `check`: end at once.

    `webhooks_allow_private`: webhooks may be in private networks, and without TLS.
    """

    listen: str
    database_url: str = field(repr=False)
    database_connections: int
    log_format: LogFormat
    insecure: bool
    tls: ServerTls | None = None
    access: AccessSettings = OPEN
    kept: KeptDays = USUAL
    webhooks_allow_private: bool = False
    telling: Telling = TOLD_NOTHING
    check: bool = False


def parse(arguments: Sequence[str], environment: Mapping[str, str]) -> Settings:
    """Read options and environment, and check all of them. Raises ConfigurationError; `--help` ends the program."""
    options = _options(environment).parse(arguments)
    tls = tls_of(options)
    require_all_safe(options, tls)
    return Settings(
        listen=options.listen,
        database_url=database_url(options, _FILE),
        database_connections=database_connections(options),
        log_format=log_format(options),
        insecure=options.insecure,
        tls=tls,
        access=access_of(options, tls, [options.listen, *([tls.mtls_listen] if tls and tls.mtls_listen else [])]),
        kept=_kept_days(options.audit_days, options.minute_days),
        webhooks_allow_private=options.webhooks_allow_private,
        telling=telling(options),
        check=options.check,
    )


def _kept_days(audit: int, minutes: int) -> KeptDays:
    if not 1 <= audit <= AUDIT_DAY_COUNT_MAX:
        raise ConfigurationError(f"--audit-days is {audit}: use 1 to {AUDIT_DAY_COUNT_MAX}.")
    if not 1 <= minutes <= MINUTE_DAY_COUNT_MAX:
        raise ConfigurationError(f"--minute-days is {minutes}: use 1 to {MINUTE_DAY_COUNT_MAX}.")
    return KeptDays(audit, minutes)


def _options(environment: Mapping[str, str]) -> Options:
    options = Options(
        "python -m control_service",
        "Tallygate's control service: accounts, catalogue, inference services, leases, the ledger.",
        environment,
    )
    options.add("--listen", "TALLYGATE_CONTROL_LISTEN", "127.0.0.1:7401", "address to listen on", metavar="HOST:PORT")
    add_tls_options(options, mtls_variable="TALLYGATE_CONTROL_MTLS_LISTEN")
    add_access_options(options)
    options.add(
        "--audit-days",
        "TALLYGATE_CONTROL_AUDIT_DAYS",
        str(USUAL.audit),
        "for how many days entries of the audit log and events of services are kept",
        metavar="N",
        type=int,
    )
    options.add(
        "--minute-days",
        "TALLYGATE_CONTROL_MINUTE_DAYS",
        str(USUAL.minutes),
        "for how many days the ledger has usage by minute, before it is by hour",
        metavar="N",
        type=int,
    )
    options.add_switch(
        "--webhooks-allow-private",
        "TALLYGATE_CONTROL_WEBHOOKS_ALLOW_PRIVATE",
        "send alerts also to webhooks in private networks and without TLS: who may make webhooks reaches what this "
        "server reaches",
    )
    add_service_options(
        options,
        file=_FILE,
        database_variable="TALLYGATE_CONTROL_DATABASE_URL",
        metrics_variable="TALLYGATE_CONTROL_METRICS_LISTEN",
        connection_count=CONNECTION_COUNT,
    )
    return options


def addresses(settings: Settings) -> list[str]:
    """All that this program listens on."""
    mtls_listen = settings.tls.mtls_listen if settings.tls else ""
    return [address for address in (settings.listen, mtls_listen, settings.telling.metrics_listen) if address]
