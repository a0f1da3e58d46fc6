"""What an issuer says of itself in its discovery document, as far as it is needed and believed."""

from dataclasses import dataclass
from typing import Final

from control_service.oidc.fetch import Document
from tallygate._web_address import address_problem, is_this_machine

DISCOVERY_PATH: Final = "/.well-known/openid-configuration"


class ProviderError(Exception):
    """An issuer's document cannot be used; the message goes after its address in a log."""


@dataclass(frozen=True, slots=True)
class Provider:
    """Where an issuer's keys are, and where people sign in."""

    jwks_uri: str
    authorization_endpoint: str
    token_endpoint: str


def discovery_url(issuer_url: str) -> str:
    """Where an issuer's discovery document is."""
    return issuer_url.removesuffix("/") + DISCOVERY_PATH


def parse_provider(issuer_url: str, document: Document) -> Provider:
    """The provider of this discovery document. Raises ProviderError."""
    if document.get("issuer") != issuer_url:
        raise ProviderError(
            "is the document of another issuer: its issuer and the configured url are not the same text"
        )
    return Provider(
        jwks_uri=_address(issuer_url, document, "jwks_uri"),
        authorization_endpoint=_address(issuer_url, document, "authorization_endpoint"),
        token_endpoint=_address(issuer_url, document, "token_endpoint"),
    )


def _address(issuer_url: str, document: Document, key: str) -> str:
    """An address in the document. A remote issuer cannot send anybody to a server on their own machine."""
    url = document.get(key)
    if not isinstance(url, str):
        raise ProviderError(f"has no {key}")
    problem = address_problem(url)
    if not problem and is_this_machine(url) and not is_this_machine(issuer_url):
        problem = "is on this machine, and the issuer is not"
    if problem:
        raise ProviderError(f"has a {key} that {problem}")
    return url
