"""TLS of a server: its certificate, which is read again when its files change, and the certificates of its callers.

gRPC for Python asks all clients of a port for a certificate or none. So callers with tokens have one port, and callers
with certificates another.
"""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Final

import grpc
import structlog

from tallygate._pem import KeyPair, PemError, Watched, read_authorities, read_pair
from tallygate._server.errors import ConfigurationError
from tallygate._server.grpc.listen import require_free

_PEER_URI: Final = "peer_uri"

_log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class ServerTls:
    """The files of a server, and where it takes callers with certificates; both are empty where it takes none.

    `shared_mtls_listen`: another address for such callers, at which several servers take calls.
    """

    certificate_file: str
    key_file: str
    client_ca_file: str = ""
    mtls_listen: str = ""
    shared_mtls_listen: str = ""


@dataclass(frozen=True, slots=True)
class _Content:
    pair: KeyPair
    client_authorities: bytes | None


class ServerCertificates:
    """Reads the files of a server. What is read again counts for new connections; those that there are go on."""

    def __init__(self, tls: ServerTls, monotonic_ns: Callable[[], int] = time.monotonic_ns) -> None:
        """Raises ConfigurationError where a file is missing or broken."""
        self._tls = tls
        try:
            self._files = Watched(self._read, self._complain, monotonic_ns)
        except PemError as error:
            raise ConfigurationError(f"TLS cannot be set up: {error}") from error

    @property
    def failed_reads(self) -> int:
        """Number of times that the files were found broken, and those that had been read before stayed in use."""
        return self._files.failed_reads

    def in_use(self) -> dict[str, bytes]:
        """The certificates that new connections use, as PEM, by what they are for."""
        content = self._files.current()
        authorities = {"client_ca": content.client_authorities} if content.client_authorities is not None else {}
        return {"server": content.pair.certificate, **authorities}

    def credentials(self, *, verify_clients: bool) -> grpc.ServerCredentials:
        """Credentials for one port: each port is told by itself of what has changed."""
        given = self._files.current()

        def fetch() -> grpc.ServerCertificateConfiguration | None:
            """Called by gRPC, on a thread of its own, before each handshake; None for no change."""
            nonlocal given
            current = self._files.current()
            if current is given:
                return None
            given = current
            _log.info("certificate_replaced", file=self._tls.certificate_file)
            return _configuration(current)

        initial = _configuration(given)
        return grpc.dynamic_ssl_server_credentials(initial, fetch, verify_clients)  # type: ignore[arg-type]  # or None

    def _read(self, known: _Content | None) -> _Content:
        pair = read_pair(self._tls.certificate_file, self._tls.key_file, known.pair if known else None)
        file = self._tls.client_ca_file
        known_authorities = known.client_authorities if known else None
        return _Content(pair, read_authorities(file, known_authorities) if file else None)

    def _complain(self, problem: str) -> None:
        _log.error("certificate_not_replaced", problem=problem, hint="connections go on with what was read before")


def _configuration(content: _Content) -> grpc.ServerCertificateConfiguration:
    pair = content.pair
    return grpc.ssl_server_certificate_configuration([(pair.key, pair.certificate)], content.client_authorities)


def peer_certificate_uris(context: Any) -> tuple[str, ...]:
    """The URI names in the caller's certificate, verified against `--client-ca`; none where there is no certificate.

    `context`: of the RPC, as grpc.aio gives it to a servicer.
    """
    found = context.auth_context().get(_PEER_URI) or ()
    # A zero byte is in no URI, and no database of ours would take it.
    return tuple(uri for name in found if (uri := name.decode(errors="replace")) and "\0" not in uri)


def require_ready(addresses: Sequence[str], tls: ServerTls | None) -> None:
    """See whether a server could start: its addresses are free, its files whole. Raises ConfigurationError."""
    for address in addresses:
        require_free(address)
    if tls is not None:
        ServerCertificates(tls)
