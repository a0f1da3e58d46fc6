"""How a channel is secured, as files and settings say it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, NamedTuple


class Names(NamedTuple):
    """What the settings of a channel are called where they are said; errors have these words."""

    ca: str
    cert: str
    key: str
    token_file: str


VARIABLES: Final = Names("TALLYGATE_CA", "TALLYGATE_CERT", "TALLYGATE_KEY", "TALLYGATE_TOKEN_FILE")
"""Variables of the environment that the middleware and the command line read."""
_FIELDS: Final = Names("ca_file", "cert_file", "key_file", "token_file")


@dataclass(frozen=True, slots=True)
class Security:
    """How a client is sure of its server, and the server of its client.

    Files are read again when they change: what is new counts for new connections, and a new token for new calls.

    Attributes:
        ca_file: Certificates of the authorities that may vouch for the server, as PEM. The connection is by TLS where
            this is set, and plain text where it is not.
        cert_file: The client's own certificate, with those that lead to its authority, for servers that ask for one.
        key_file: The key of that certificate.
        token: An access token, sent with each call. By plain text it is sent to this machine only.
        token_file: A file that holds such a token.
    """

    ca_file: str | Path = ""
    cert_file: str | Path = ""
    key_file: str | Path = ""
    token: str = field(default="", repr=False)
    token_file: str | Path = ""

    def __post_init__(self) -> None:
        """Raises ValueError where something is missing, or said twice."""
        if self.token and self.token_file:
            raise ValueError("token and token_file are both set; give one of them.")
        _require_whole(_FIELDS, self.ca_file, self.cert_file, self.key_file)

    @property
    def has_tls(self) -> bool:
        """Whether connections are by TLS."""
        return bool(self.ca_file)


def security_from(environment: Mapping[str, str], names: Names = VARIABLES) -> Security:
    """The security that variables of these names describe. Raises ValueError, which names the variable."""
    ca, cert, key, token_file = (environment.get(name, "") for name in names)
    return security_of(names, ca, cert, key, token_file)


def security_of(names: Names, ca: str, cert: str, key: str, token_file: str) -> Security:
    """The security that settings describe which have these names. Raises ValueError, which names the setting."""
    _require_whole(names, ca, cert, key)
    return Security(ca_file=ca, cert_file=cert, key_file=key, token_file=token_file)


def _require_whole(names: Names, ca: str | Path, cert: str | Path, key: str | Path) -> None:
    if bool(cert) != bool(key):
        given, missing = (names.cert, names.key) if cert else (names.key, names.cert)
        raise ValueError(f"{given} needs {missing}: a certificate is of no use without its key.")
    if cert and not ca:
        raise ValueError(
            f"{names.cert} needs {names.ca}: a certificate is shown by TLS only, to a server that is known."
        )


PLAIN: Final = Security()
"""Settings of plain text, without a token."""
