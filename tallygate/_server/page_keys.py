"""Keys that sign page tokens: a token that was made up or altered, or is another caller's, counts as none.

All servers of a database have their keys from it, and there are two at a time. A new one signs only once this process
has known it for `SETTLED_NS`: by then every other process that reaches the database knows it as well.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from hashlib import blake2b
from hmac import compare_digest
from typing import Final

SECRET_BYTES: Final = 32
SETTLED_NS: Final = 60_000_000_000
"""Age from which a key signs, where there is an older one."""

_NUMBER_BYTES: Final = 4
_MAC_BYTES: Final = 16
SIGNATURE_BYTES: Final = _NUMBER_BYTES + _MAC_BYTES
_PURPOSE: Final = b"tallygate page"


@dataclass(frozen=True, slots=True)
class PageKey:
    """One key. Numbers count up from 1. `create_us`: by its maker's wall clock."""

    number: int
    create_us: int
    secret: bytes = field(repr=False)


class PageKeys:
    """The keys that one server knows. As long as it knows none, a token proves no more than that it is well-formed."""

    def __init__(self) -> None:
        self._secrets: Mapping[int, bytes] = {0: b""}
        self._known_ns: dict[int, int] = {}
        self._signing = 0

    def take(self, secrets: Mapping[int, bytes], now_ns: int) -> None:
        """Knows these keys, by number, and no others. `now_ns`: of the monotonic clock."""
        if not secrets:
            return
        self._known_ns = {number: self._known_ns.get(number, now_ns) for number in secrets}
        settled = [number for number, since_ns in self._known_ns.items() if now_ns - since_ns >= SETTLED_NS]
        self._secrets = dict(secrets)
        self._signing = max(settled, default=min(secrets))

    def sign(self, content: bytes) -> bytes:
        """The signature of a content: the number of a key, and a MAC."""
        return self._signing.to_bytes(_NUMBER_BYTES, "big") + _mac(self._secrets[self._signing], content)

    def is_signed(self, content: bytes, signature: bytes) -> bool:
        """Whether the signature is that of this content, by one of the keys."""
        secret = self._secrets.get(int.from_bytes(signature[:_NUMBER_BYTES], "big"))
        return secret is not None and compare_digest(signature[_NUMBER_BYTES:], _mac(secret, content))


def _mac(secret: bytes, content: bytes) -> bytes:
    return blake2b(content, key=secret, digest_size=_MAC_BYTES, person=_PURPOSE).digest()
