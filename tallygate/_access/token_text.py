"""The text of an access token: `tgt_{id}_{secret}_{checksum}`, which scanners recognise and a slip of the pen breaks.

The id and the 256-bit secret are lower-case base 32 without padding, the checksum is CRC-32 of all before it as eight
hexadecimal digits. The checksum proves nothing; it keeps texts that are no tokens from being looked up.
"""

import base64
import hashlib
import re
import zlib
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Final

PREFIX: Final = "tgt_"
ID_BYTES: Final = 15
"""Number of bytes of an id; issuers may put a keyed tag into it, by which ids that were made up are known."""
SECRET_BYTES: Final = 32
"""Number of random bytes of a secret."""

_TEXT: Final = re.compile(r"tgt_([a-z2-7]{24})_[a-z2-7]{52}_([0-9a-f]{8})")
TEXT_MAX: Final = 90
"""Maximum length of a token's text."""
TEXTS_KEPT_MAX: Final = 1_024
"""Maximum number of texts whose reading is remembered: whoever calls again and again shows the same one."""


@dataclass(frozen=True, slots=True)
class ShownToken:
    """A token that a caller has shown: its id, and the SHA-256 of its text, by which it is known from then on."""

    token_id: str
    sha256: bytes = field(repr=False)


def token_text(token_id: str, secret: bytes) -> str:
    """The text of a token; `token_id` is that of `token_id_of`."""
    body = f"{PREFIX}{token_id}_{encode(secret)}"
    return f"{body}_{checksum(body)}"


def token_id_of(random_bytes: bytes) -> str:
    """The id that is made of `ID_BYTES` bytes."""
    return encode(random_bytes)


def read_token(text: str) -> ShownToken | None:
    """The token in this text; None where it is no token's."""
    return _read(text) if len(text) <= TEXT_MAX else None


@lru_cache(maxsize=TEXTS_KEPT_MAX)
def _read(text: str) -> ShownToken | None:
    match = _TEXT.fullmatch(text)
    if match is None or checksum(text[: -len(match[2]) - 1]) != match[2]:
        return None
    return ShownToken(match[1], hashlib.sha256(text.encode()).digest())


def encode(raw: bytes) -> str:
    """Bytes as lower-case base 32 without padding."""
    return base64.b32encode(raw).decode().rstrip("=").lower()


def checksum(body: str) -> str:
    """CRC-32 of a text, as eight hexadecimal digits."""
    return f"{zlib.crc32(body.encode()):08x}"
