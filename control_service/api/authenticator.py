"""The authenticator of this service's gate: who a caller is, by the database."""

from typing import Final

from typing_extensions import override

from control_service.domain.access_token import CredentialState
from control_service.domain.credential import UNKNOWN, ResolvedCredential
from control_service.usecases.access.proof_lookup import ProofLookup
from control_service.usecases.resolve_credential import Certificate
from tallygate._access.token_text import ShownToken
from tallygate._server.grpc.caller import Caller
from tallygate._server.grpc.failures import RpcStatusError
from tallygate._server.grpc.gate import Authenticator, unauthenticated

_REFUSALS: Final[dict[CredentialState, tuple[str, str]]] = {
    CredentialState.UNKNOWN: (
        "CREDENTIAL_INVALID",
        "This credential opens nothing here; check what was copied, and for which server it was made.",
    ),
    CredentialState.EXPIRED: (
        "CREDENTIAL_EXPIRED",
        "This credential has expired; sign in again, or take another one.",
    ),
    CredentialState.REVOKED: (
        "CREDENTIAL_REVOKED",
        "This credential was disabled or deleted, or its owner was; ask who manages it for another.",
    ),
}


class DatabaseAuthenticator(Authenticator):
    """Knows tokens and certificates by what is stored."""

    def __init__(self, lookup: ProofLookup) -> None:
        self._lookup = lookup

    @override
    async def by_token(self, token: ShownToken, peer: str) -> Caller:
        return _caller(await self._lookup.resolve(token))

    @override
    async def by_certificate(self, uris: tuple[str, ...], peer: str) -> Caller:
        """The first URI that opens something decides; rights of several never add up."""
        refused = UNKNOWN
        for uri in uris:
            resolved = await self._lookup.resolve(Certificate(uri))
            if resolved.state is CredentialState.VALID:
                return _caller(resolved)
            refused = resolved if resolved.state is not CredentialState.UNKNOWN else refused
        return _caller(refused)


def _caller(resolved: ResolvedCredential) -> Caller:
    """The caller that a credential proves. Raises RpcStatusError where it opens nothing."""
    if resolved.state is not CredentialState.VALID:
        raise refusal(resolved.state)
    return Caller(
        member=resolved.member,
        rights=resolved.rights,
        access_token=resolved.access_token,
        display_name=resolved.display_name,
        groups=resolved.groups,
        expire_us=resolved.expire_us,
    )


def refusal(state: CredentialState) -> RpcStatusError:
    """The failure of a call by a credential in this state, which opens nothing."""
    return unauthenticated(*_REFUSALS[state])
