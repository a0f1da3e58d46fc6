"""The seal of access tokens: what is stored of a secret, and ids that nobody can make up, both by a key of the server.

The key is the pepper, which is in a file and never in the database: who reads the database cannot make a token, and
cannot even try secrets against what is stored.
"""

import base64
import binascii
import hashlib
import hmac
from typing import Final

from control_service.domain.webhook_secret import WebhookSecrets
from tallygate._access.token_text import ID_BYTES, token_id_of

PEPPER_BYTES_MIN: Final = 32
"""Minimum length of a pepper."""
TAG_BYTES: Final = 6
"""Number of bytes of an id that prove that this server has given it out."""
RANDOM_ID_BYTES: Final = ID_BYTES - TAG_BYTES
"""Number of random bytes of an id."""


class TokenSeal:
    """Hashes secrets and tags ids. Comparisons take as long for a wrong value as for a right one."""

    def __init__(self, pepper: bytes) -> None:
        """`pepper` has at least `PEPPER_BYTES_MIN` bytes that nobody can guess."""
        self._pepper = pepper
        self._id_key = self.derived_key(b"tallygate access token id")
        self.fingerprint: Final = self.derived_key(b"tallygate pepper fingerprint")

    def derived_key(self, purpose: bytes) -> bytes:
        """A key that is made of the pepper for one purpose, and tells nothing of the pepper."""
        return hmac.digest(self._pepper, purpose, "sha256")

    def new_id(self, random_bytes: bytes) -> str:
        """The id that is made of `RANDOM_ID_BYTES` random bytes."""
        return token_id_of(random_bytes + self._tag(random_bytes))

    def is_own_id(self, token_id: str) -> bool:
        """Whether this server has made the id. An id that somebody made up is known without a look at the database."""
        try:
            raw = base64.b32decode(token_id.upper())
        except (binascii.Error, ValueError):
            return False
        return hmac.compare_digest(raw[RANDOM_ID_BYTES:], self._tag(raw[:RANDOM_ID_BYTES]))

    def hash_of(self, sha256: bytes) -> bytes:
        """What is stored of a token whose text has this SHA-256."""
        return hmac.digest(self._pepper, sha256, "sha256")

    def hash_of_text(self, text: str) -> bytes:
        """What is stored of a token with this text."""
        return self.hash_of(hashlib.sha256(text.encode()).digest())

    def webhook_secrets(self) -> WebhookSecrets:
        """What secrets of webhooks are derived with."""
        return WebhookSecrets(self._pepper)

    def _tag(self, random_bytes: bytes) -> bytes:
        return hmac.digest(self._id_key, random_bytes, "sha256")[:TAG_BYTES]
