"""The text of an API key: `sk-{id}-{secret}-{checksum}`, of the shape that clients of inference servers expect.

The parts are those of an access token: id and 256-bit secret in lower-case base 32 without padding, CRC-32 as eight
hexadecimal digits. The id opens nothing; people know a key by it that they find somewhere.
"""

import re
from typing import Final

from tallygate._access.token_text import checksum, encode

PREFIX: Final = "sk-"
ID_BYTES: Final = 10
"""Number of random bytes of an id."""
SECRET_BYTES: Final = 32
"""Number of random bytes of a secret."""

KEY_TEXT: Final = re.compile(r"sk-([a-z2-7]{16})-[a-z2-7]{52}-[0-9a-f]{8}")


def key_text(secret_id: str, secret: bytes) -> str:
    """The text of a key; `secret_id` is that of `secret_id_of`."""
    body = f"{PREFIX}{secret_id}-{encode(secret)}"
    return f"{body}-{checksum(body)}"


def secret_id_of(random_bytes: bytes) -> str:
    """The id that is made of `ID_BYTES` bytes."""
    return encode(random_bytes)
