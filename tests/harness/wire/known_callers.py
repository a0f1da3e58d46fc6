"""An authenticator that knows callers by tokens of their names, for servers that ask for proof."""

from collections.abc import Mapping
from hashlib import sha256

from tallygate._access.rights import Right, Rights
from tallygate._access.token_text import ID_BYTES, SECRET_BYTES, ShownToken, token_id_of, token_text
from tallygate._server.grpc.caller import AUTHORIZATION_KEY, Caller
from tallygate._server.grpc.gate import unauthenticated

Metadata = tuple[tuple[str, str], ...]


def presenting(name: str) -> Metadata:
    """The metadata by which a call proves that it comes from the caller of this name."""
    return ((AUTHORIZATION_KEY, f"Bearer {token_of(name)}"),)


def token_of(name: str) -> str:
    """The access token of the caller of this name."""
    return token_text(_token_id(name), bytes(SECRET_BYTES))


class KnownCallers:
    """`Authenticator` that knows these callers, each with these rights."""

    def __init__(self, rights: Mapping[str, tuple[Right, ...]]) -> None:
        self._callers = {
            _token_id(name): Caller(member=f"person:https://id.example#{name}", rights=Rights(its))
            for name, its in rights.items()
        }

    async def by_token(self, token: ShownToken, peer: str) -> Caller:
        if token.token_id not in self._callers:
            raise unauthenticated("CREDENTIAL_INVALID", "Nobody has this token.")
        return self._callers[token.token_id]

    async def by_certificate(self, uris: tuple[str, ...], peer: str) -> Caller:
        raise unauthenticated("CREDENTIAL_INVALID", "Nobody has this certificate.")


def _token_id(name: str) -> str:
    return token_id_of(sha256(name.encode()).digest()[:ID_BYTES])
