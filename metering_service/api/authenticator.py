"""Callers of a node, known by what control says of their credentials."""

from dataclasses import dataclass, field
from typing import Final, cast

import grpc
from typing_extensions import override

from metering_service.api.errors import translate
from metering_service.domain.credential import Credential, CredentialState
from metering_service.domain.errors import CredentialRefusedError, CredentialUnverifiedError
from metering_service.usecases.access.credentials import Credentials
from metering_service.usecases.access.shown_credential import ShownCredential
from tallygate._access.token_text import ShownToken
from tallygate._server.grpc.caller import Caller, peer_network
from tallygate._server.grpc.failures import RpcStatusError
from tallygate._server.grpc.gate import Authenticator, unauthenticated

URIS_MAX: Final = 8
"""Maximum number of URIs of one certificate that are looked at."""
URI_BYTES_MAX: Final = 512
"""Maximum length of the URI of a certificate that control may know."""


@dataclass(frozen=True, slots=True)
class NodeCaller(Caller):
    """A caller together with the credential that it has shown, by which its streams are found when that changes."""

    shown: ShownCredential | None = field(default=None, compare=False)


class NodeAuthenticator(Authenticator):
    """Looks up what callers present."""

    def __init__(self, credentials: Credentials) -> None:
        self._credentials = credentials

    @override
    async def by_token(self, token: ShownToken, peer: str) -> Caller:
        return await self._caller(Credential(token_id=token.token_id, token_sha256=token.sha256), peer)

    @override
    async def by_certificate(self, uris: tuple[str, ...], peer: str) -> Caller:
        """The first of the URIs that opens something decides: rights never add up."""
        refusal = unauthenticated("CREDENTIAL_INVALID", str(CredentialRefusedError(CredentialState.UNKNOWN)))
        for uri in uris[:URIS_MAX]:
            if len(uri.encode()) > URI_BYTES_MAX:
                continue
            try:
                return await self._caller(Credential(certificate_uri=uri), peer)
            except RpcStatusError as failure:
                if failure.code is not grpc.StatusCode.UNAUTHENTICATED:
                    raise
                refusal = failure
        raise refusal

    async def _caller(self, credential: Credential, peer: str) -> Caller:
        try:
            shown = await self._credentials.prove(credential, peer_network(peer))
        except (CredentialRefusedError, CredentialUnverifiedError) as error:
            failure = translate(error)
            assert failure is not None
            raise failure from None
        config, caller = shown.kept
        if config is not shown.config:
            caller = NodeCaller(member=shown.member, rights=shown.rights, shown=shown)
            shown.kept = (shown.config, caller)
        return cast("NodeCaller", caller)


def shown_by(caller: Caller) -> ShownCredential | None:
    """The credential by which a caller is known; None at a node that asks for no proof."""
    return caller.shown if isinstance(caller, NodeCaller) else None


def require_unchanged(caller: Caller) -> None:
    """Makes sure that a caller may do what the gate went by, which may have waited for the team of a service since.

    Raises CredentialUnverifiedError where that has changed: whoever repeats the call is judged anew.
    """
    shown = shown_by(caller)
    if shown is None:
        return
    config = shown.config
    if config is None or config.state is not CredentialState.VALID:
        raise CredentialUnverifiedError
    # Nearly always the same object, and to compare two takes longer than all else here.
    if config.rights is not caller.rights and config.rights != caller.rights:
        raise CredentialUnverifiedError
