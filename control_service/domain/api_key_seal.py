"""The seal of API keys: what is stored of their secrets.

Nodes show the SHA-256 of a key's whole text, and a key that was brought along has no id of ours, so a secret is found
by what is stored of it: HMAC-SHA-256 of that SHA-256, by a key that is made of the pepper. Whoever reads the database
has nothing to show to a node.
"""

import hashlib
import hmac

from control_service.domain.token_seal import TokenSeal


class ApiKeySeal:
    """Hashes secrets of API keys, with a key of its own: what is stored of a token is never that of an API key."""

    def __init__(self, seal: TokenSeal) -> None:
        self._key = seal.derived_key(b"tallygate api key")

    def hash_of(self, sha256: bytes) -> bytes:
        """What is stored of a secret with this SHA-256."""
        return hmac.digest(self._key, sha256, "sha256")

    def hash_of_text(self, text: str) -> bytes:
        """What is stored of a secret with this text."""
        return self.hash_of(hashlib.sha256(text.encode()).digest())
