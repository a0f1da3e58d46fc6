"""Settings of who may call: the options, when proof is asked for, and the files that credentials are known by."""

import argparse
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from control_service.domain.certificate_uri import TRUST_DOMAIN
from control_service.domain.token_seal import PEPPER_BYTES_MIN, TokenSeal
from control_service.usecases.resolve_credential import Credentials
from tallygate._access.scope import Scope
from tallygate._access.token_text import ShownToken, read_token
from tallygate._server.errors import ConfigurationError
from tallygate._server.grpc.listen import require_proof
from tallygate._server.grpc.tls import ServerTls
from tallygate._server.process.options import Options
from tallygate._server.process.secret_file import read_secret_file

NO_ISSUER_SCOPES: Final[Mapping[str, Scope]] = {}


@dataclass(frozen=True, slots=True)
class AccessSettings:
    """What was said of callers' proof. `asks_for_proof`: callers must prove who they are."""

    asks_for_proof: bool = False
    pepper_file: str = ""
    operator_token_file: str = ""
    trust_domain: str = ""
    oidc_config: str = ""


_REMEDY: Final = "--operator-token-file and --pepper-file (`tallygate token bootstrap` makes both) or --client-ca"

OPEN: Final = AccessSettings()
"""Settings of a server at which everybody may do everything."""


def add_access_options(options: Options) -> None:
    """Add them."""
    options.add_switch("--auth", "TALLYGATE_AUTH", "let in nobody who has not proved who they are")
    options.add_switch(
        "--no-auth",
        "TALLYGATE_NO_AUTH",
        "let everybody in although there is a pepper: keys and alerts can be tried out without proof",
    )
    options.add(
        "--pepper-file",
        "TALLYGATE_PEPPER_FILE",
        None,
        "the key that tokens are hashed with, at least 32 bytes that nobody can guess, for its owner only; the same "
        "for all replicas, for good (`tallygate token bootstrap` makes one)",
        metavar="FILE",
    )
    options.add(
        "--operator-token-file",
        "TALLYGATE_OPERATOR_TOKEN_FILE",
        None,
        "an access token that may do everything, for its owner only (`tallygate token bootstrap` makes one)",
        metavar="FILE",
    )
    options.add(
        "--trust-domain",
        "TALLYGATE_TRUST_DOMAIN",
        None,
        "certificates with a URI spiffe://DOMAIN/tallygate/... are the node or meter that the URI says",
        metavar="DOMAIN",
    )
    options.add(
        "--oidc-config",
        "TALLYGATE_OIDC_CONFIG",
        None,
        "OpenID Connect issuers at which people sign in, [[issuer]] tables in TOML; read at start (docs/oidc.md)",
        metavar="FILE",
    )


def access_of(said: argparse.Namespace, tls: ServerTls | None, addresses: Sequence[str]) -> AccessSettings:
    """What was said. Files are not opened.

    Raises:
        ConfigurationError: proof is needed and not asked for, or asked for and impossible, or an option lacks another.
    """
    takes_certificates = tls is not None and bool(tls.client_ca_file)
    proves = bool(said.operator_token_file or said.oidc_config or takes_certificates)
    if said.no_auth and (said.auth or proves):
        raise ConfigurationError(
            "--no-auth contradicts the settings by which callers prove who they are; leave it out."
        )
    proofs = proves or bool(said.pepper_file and not said.no_auth)
    if said.auth and not proofs:
        raise ConfigurationError(
            "--auth lets nobody in as it is: add --operator-token-file and --pepper-file (`tallygate token bootstrap` "
            "makes both), or --client-ca."
        )
    if said.oidc_config and not said.pepper_file:
        raise ConfigurationError("--oidc-config needs --pepper-file: sign-ins give tokens, which are hashed with it.")
    domain = said.trust_domain or ""
    if domain and TRUST_DOMAIN.fullmatch(domain) is None:
        raise ConfigurationError(f'"{domain}" is no trust domain: use lower-case letters, digits, dots and hyphens.')
    if domain and not takes_certificates:
        raise ConfigurationError("--trust-domain needs --client-ca: it says what callers' certificates mean.")
    for address in addresses:
        require_proof(address, insecure=said.insecure, asks_for_proof=proofs, remedy=_REMEDY)
    return AccessSettings(
        proofs, said.pepper_file or "", said.operator_token_file or "", domain, said.oidc_config or ""
    )


def read_credentials(access: AccessSettings, issuer_scopes: Mapping[str, Scope] = NO_ISSUER_SCOPES) -> Credentials:
    """What credentials are known by. Raises ConfigurationError where a file is missing, broken, or open to others."""
    return Credentials(
        seal=_seal(access.pepper_file) if access.pepper_file else None,
        operator=_operator(access.operator_token_file) if access.operator_token_file else None,
        trust_domain=access.trust_domain,
        issuer_scopes=issuer_scopes,
    )


def _seal(path: str) -> TokenSeal:
    pepper = read_secret_file(path)
    if len(pepper) < PEPPER_BYTES_MIN:
        raise ConfigurationError(
            f"The pepper in {path} is too short: it needs at least {PEPPER_BYTES_MIN} bytes that nobody can guess."
        )
    return TokenSeal(pepper)


def _operator(path: str) -> ShownToken:
    text = read_secret_file(path).decode(errors="replace").strip()
    token = read_token(text)
    if token is None:
        raise ConfigurationError(f"The file {path} holds no access token; `tallygate token bootstrap` makes one.")
    return token
