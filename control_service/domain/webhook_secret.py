"""Secrets of webhooks, each derived from the pepper and a random salt: nothing that is stored signs anything.

Who reads the database lacks the pepper, and who has the pepper lacks the salts.
"""

import base64
import hmac
from typing import Final

SECRET_PREFIX: Final = "whsec_"  # noqa: S105  # what secrets begin with
_PURPOSE: Final = b"tallygate webhook secret"


class WebhookSecrets:
    """Derives secrets by a key that was derived from the pepper for this alone."""

    def __init__(self, pepper: bytes) -> None:
        self._key = hmac.digest(pepper, _PURPOSE, "sha256")

    def secret_of(self, webhook_uid: str, salt: bytes) -> bytes:
        """The 32 bytes that messages to this webhook are signed with."""
        return hmac.digest(self._key, webhook_uid.encode() + b"\x00" + salt, "sha256")

    def text_of(self, webhook_uid: str, salt: bytes) -> str:
        """The secret as its owner is shown it, once."""
        return SECRET_PREFIX + base64.b64encode(self.secret_of(webhook_uid, salt)).decode()
