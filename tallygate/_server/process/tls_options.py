"""The options by which a service is given its certificate, and a port for callers with certificates."""

import argparse
from collections.abc import Iterator

from tallygate._server.errors import ConfigurationError
from tallygate._server.grpc.listen import require_safe
from tallygate._server.grpc.tls import ServerTls
from tallygate._server.process.options import Options


def add_tls_options(options: Options, *, mtls_variable: str) -> None:
    """Add them; the variable for the further port differs between services, so that both can run on one machine."""
    options.add(
        "--tls-cert", "TALLYGATE_TLS_CERT", None, "certificate, and its chain; serve by TLS only", metavar="FILE"
    )
    options.add("--tls-key", "TALLYGATE_TLS_KEY", None, "its key, without a password", metavar="FILE")
    options.add(
        "--client-ca", "TALLYGATE_CLIENT_CA", None, "authorities of callers' certificates (mTLS)", metavar="FILE"
    )
    options.add(
        "--mtls-listen",
        mtls_variable,
        None,
        "a further address, for callers with certificates only",
        metavar="HOST:PORT",
    )


def tls_of(said: argparse.Namespace) -> ServerTls | None:
    """What was said of TLS; None for nothing. Files are not opened. Raises ConfigurationError for half of it."""
    certificate, key, authorities, listen = (
        text or "" for text in (said.tls_cert, said.tls_key, said.client_ca, said.mtls_listen)
    )
    if bool(certificate) != bool(key):
        missing, given = ("--tls-key", "--tls-cert") if certificate else ("--tls-cert", "--tls-key")
        raise ConfigurationError(f"{given} needs {missing}: a certificate is of no use without its key.")
    if bool(authorities) != bool(listen):
        missing, given = ("--mtls-listen", "--client-ca") if authorities else ("--client-ca", "--mtls-listen")
        raise ConfigurationError(
            f"{given} needs {missing}: callers with certificates have an address of their own, and an authority."
        )
    if listen and not certificate:
        raise ConfigurationError("--mtls-listen needs --tls-cert and --tls-key: the server has a certificate, too.")
    return ServerTls(certificate, key, authorities, listen) if certificate else None


def require_all_safe(said: argparse.Namespace, tls: ServerTls | None, *others: str) -> None:
    """Refuse addresses that are malformed, said twice, or unsafe. Raises ConfigurationError."""
    addresses = [address for address in (said.listen, *others, *_listened(tls)) if address]
    for address in addresses:
        require_safe(address, insecure=said.insecure, has_tls=tls is not None)
    for address in set(addresses):
        if addresses.count(address) > 1 and not address.endswith(":0"):
            raise ConfigurationError(f"{address} is said for two purposes: use another port for one of them.")


def _listened(tls: ServerTls | None) -> Iterator[str]:
    if tls is not None:
        yield from (tls.mtls_listen, tls.shared_mtls_listen)
