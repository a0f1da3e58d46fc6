"""The mint of access tokens: ids that this server knows again, and secrets that nobody else knows."""

from collections.abc import Callable
from dataclasses import dataclass, field

from control_service.domain.errors import Reason, RefusedError
from control_service.domain.token_seal import RANDOM_ID_BYTES, TokenSeal
from tallygate._access.token_text import SECRET_BYTES, token_text


@dataclass(frozen=True, slots=True)
class MintedToken:
    """A token that was just made: `text` is shown once, `secret_hash` is stored."""

    token_id: str
    text: str = field(repr=False)
    secret_hash: bytes = field(repr=False)


class TokenMint:
    """Makes tokens from random bytes."""

    def __init__(self, seal: TokenSeal | None, random_bytes: Callable[[int], bytes]) -> None:
        """`seal`: None where the server has no pepper, and makes no tokens."""
        self._seal = seal
        self._random_bytes = random_bytes

    def new_token(self) -> MintedToken:
        """A token with a new id. Raises RefusedError TOKENS_NOT_KEPT."""
        return self.new_secret(self._sealed().new_id(self._random_bytes(RANDOM_ID_BYTES)))

    def new_secret(self, token_id: str) -> MintedToken:
        """Another secret for the token of this id. Raises RefusedError TOKENS_NOT_KEPT."""
        text = token_text(token_id, self._random_bytes(SECRET_BYTES))
        return MintedToken(token_id, text, self._sealed().hash_of_text(text))

    def _sealed(self) -> TokenSeal:
        if self._seal is None:
            message = "This server keeps no tokens, because it was started without --pepper-file; start it with one."
            raise RefusedError(Reason.TOKENS_NOT_KEPT, message)
        return self._seal
