"""What use cases need of OpenID Connect."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from control_service.domain.sign_in import SignedIn


@dataclass(frozen=True, slots=True)
class SignInOption:
    """How a person signs in at an issuer with a browser; the client is public and has no secret."""

    issuer: str
    client_id: str
    authorization_endpoint: str
    token_endpoint: str
    scopes: tuple[str, ...]


class IdTokenVerifier(Protocol):
    """Tells who signed in, from the id token alone."""

    async def verify(self, jwt: str) -> SignedIn:
        """Who signed in.

        Raises:
            IdTokenRefusedError: the token proves nothing.
            IssuerUnavailableError: nobody can tell at the moment.
        """
        ...

    async def sign_in_options(self) -> Sequence[SignInOption]:
        """How people sign in, one option for each issuer, in the order of the configuration.

        Raises:
            IssuerUnavailableError: no issuer answers.
        """
        ...
