"""The mint of API keys: secrets that nobody else knows, and what is stored of those and of others' secrets."""

from collections.abc import Callable
from dataclasses import dataclass, field

from control_service.domain.api_key_seal import ApiKeySeal
from control_service.domain.errors import Reason, RefusedError
from control_service.domain.token_seal import TokenSeal
from tallygate._access.key_text import ID_BYTES, SECRET_BYTES, key_text, secret_id_of


@dataclass(frozen=True, slots=True)
class MintedSecret:
    """A secret that was just made: `text` is shown once, `secret_hash` is stored."""

    secret_id: str
    text: str = field(repr=False)
    secret_hash: bytes = field(repr=False)


class KeyMint:
    """Makes secrets of API keys from random bytes, and seals what others have made."""

    def __init__(self, seal: TokenSeal | None, random_bytes: Callable[[int], bytes]) -> None:
        """`seal`: None where the server has no pepper, and keeps no keys."""
        self._seal = None if seal is None else ApiKeySeal(seal)
        self._random_bytes = random_bytes

    def new_secret(self) -> MintedSecret:
        """A secret with a new id. Raises RefusedError TOKENS_NOT_KEPT."""
        secret_id = secret_id_of(self._random_bytes(ID_BYTES))
        text = key_text(secret_id, self._random_bytes(SECRET_BYTES))
        return MintedSecret(secret_id, text, self._sealed().hash_of_text(text))

    def hash_of_text(self, text: str) -> bytes:
        """What is stored of a secret with this text. Raises RefusedError TOKENS_NOT_KEPT."""
        return self._sealed().hash_of_text(text)

    def hash_of(self, sha256: bytes) -> bytes:
        """What is stored of a secret with this SHA-256. Raises RefusedError TOKENS_NOT_KEPT."""
        return self._sealed().hash_of(sha256)

    def _sealed(self) -> ApiKeySeal:
        if self._seal is None:
            message = "This server keeps no keys, because it was started without --pepper-file; start it with one."
            raise RefusedError(Reason.TOKENS_NOT_KEPT, message)
        return self._seal
