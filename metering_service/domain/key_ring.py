"""Keys that sign resume tokens: nobody else can make one, and none counts for anything but what it was given for.

A token is the number of a key, a MAC (keyed BLAKE2b) over the service's uid, the request's id and the content, and the
content. A token that does not verify counts as none: nothing of it is believed.

All nodes of a fleet have their keys from the metering database. A new one signs only once it has been there for
`SETTLED_NS`, by the clock of the node that signs: by then every node that reaches the database has read it. The first
key of a database signs at once, since no node has read the table without one in it: a node that finds it empty enters
one, and reads again.
"""

from collections.abc import Iterable
from dataclasses import dataclass, field
from hashlib import blake2b
from hmac import compare_digest
from typing import Final

from metering_service.domain.resume_token import ResumeToken, decode

SECRET_BYTES: Final = 32
SETTLED_NS: Final = 60_000_000_000
"""Age from which a key signs: by then every node has read it."""
TOKEN_BYTES_MAX: Final = 4_096

_NUMBER_BYTES: Final = 4
_MAC_BYTES: Final = 16
_HEAD_BYTES: Final = _NUMBER_BYTES + _MAC_BYTES
_PURPOSE: Final = b"tallygate resum2"
"""Purpose of these MACs; a token whose content has another shape needs another purpose."""


@dataclass(frozen=True, slots=True)
class ResumeKey:
    """One key. Numbers count from 1, without gaps where nothing is deleted. `create_us`: by its maker's wall clock."""

    number: int
    create_us: int
    secret: bytes = field(repr=False)


class KeyRing:
    """The keys that one node knows."""

    def __init__(self) -> None:
        self._keys: dict[int, ResumeKey] = {}
        self._known_ns: dict[int, int] = {}
        self._verifying: dict[bytes, blake2b] = {}
        self._head = b""
        self._signing: blake2b | None = None
        self.is_lacking = False
        """Whether a token has come whose key is not here: the table may have it by now."""

    def take(self, keys: Iterable[ResumeKey], now_ns: int) -> None:
        """Know the keys that are in the table now, and no others. `now_ns`: of the monotonic clock.

        Of those that are there when this ring is new, only the last one can be younger than `SETTLED_NS`.
        """
        before, known_ns = self._keys, self._known_ns
        self._keys = {key.number: key for key in keys}
        self._known_ns = {number: known_ns.get(number, now_ns) for number in self._keys}
        last = max(self._keys, default=0)
        for number, key in self._keys.items():
            if not before and number != last:
                self._known_ns[number] = now_ns - SETTLED_NS
            elif number in before and before[number].secret != key.secret:
                self._known_ns[number] = now_ns  # The database was put back to an older copy.
        self._verifying = {_name(key.number): _keyed(key) for key in self._keys.values()}
        settled = [number for number, since_ns in self._known_ns.items() if now_ns - since_ns >= SETTLED_NS]
        signing = max(settled) if settled else min(self._keys, default=0)
        self._head = _name(signing)
        self._signing = self._verifying.get(self._head)

    def sign(self, service_uid: str, request_id: str, content: bytes) -> bytes:
        """A token with that content, good for that request of that service only. Opaque to all but this class."""
        signing = self._signing
        assert signing is not None, "a key is there before anything is granted"
        return self._head + _mac(signing, service_uid, request_id, content) + content

    def read(self, service_uid: str, request_id: str, token: bytes) -> ResumeToken | None:
        """What a token says; None where it was not given for that request of that service by this fleet.

        It is None, too, while its key is not known here (see `lacks`).
        """
        verifying = self._verifying.get(token[:_NUMBER_BYTES])
        if verifying is None or len(token) > TOKEN_BYTES_MAX:
            return None
        content = token[_HEAD_BYTES:]
        if not compare_digest(token[_NUMBER_BYTES:_HEAD_BYTES], _mac(verifying, service_uid, request_id, content)):
            return None
        return decode(content)

    def lacks(self, token: bytes) -> bool:
        """Whether a token names a key that is not known here; then the table is to be read again."""
        if not _HEAD_BYTES < len(token) <= TOKEN_BYTES_MAX or token[:_NUMBER_BYTES] in self._verifying:
            return False
        self.is_lacking = True
        return True


def _name(number: int) -> bytes:
    return number.to_bytes(_NUMBER_BYTES, "big")


def _keyed(key: ResumeKey) -> blake2b:
    return blake2b(key=key.secret, digest_size=_MAC_BYTES, person=_PURPOSE)


def _mac(keyed: blake2b, service_uid: str, request_id: str, content: bytes) -> bytes:
    """Lengths come first: no other service, id and content have the same text."""
    mac = keyed.copy()
    mac.update(f"{len(service_uid)} {len(request_id)} {service_uid}{request_id}".encode() + content)
    return mac.digest()
