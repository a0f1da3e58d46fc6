"""Sign-ins as TokenService needs them: how people sign in, and a token for an id token."""

from collections.abc import Sequence
from typing import Protocol

from typing_extensions import override

from control_service.domain.errors import Reason, UnauthenticatedError
from control_service.usecases.access.oidc_port import SignInOption
from control_service.usecases.access.tokens import ShownOnce


class SignIns(Protocol):
    """Lets people in whom a configured issuer knows."""

    async def options(self) -> Sequence[SignInOption]:
        """How people sign in; none where they have tokens only."""

    async def exchange(self, id_token: str) -> ShownOnce:
        """A token for whoever the issuer says has signed in.

        Raises:
            UnauthenticatedError: the id token proves nothing.
        """


class NoSignIns(SignIns):
    """A server without issuers."""

    @override
    async def options(self) -> Sequence[SignInOption]:
        return ()

    @override
    async def exchange(self, id_token: str) -> ShownOnce:
        raise UnauthenticatedError(
            Reason.CREDENTIAL_INVALID, "No issuer is configured at this server; prove who you are by an access token."
        )
