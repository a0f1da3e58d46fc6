"""PEM files of TLS: a certificate with its key, and authorities; checked when read, and read again when they change."""

from __future__ import annotations

import base64
import re
import ssl
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, Generic, NoReturn, TypeVar

CHECK_INTERVAL_NS: Final = 1_000_000_000
"""Interval at which files are read again at most."""
COMPLAINT_INTERVAL_NS: Final = 60_000_000_000
"""Interval at which it is said at most that files are broken."""

_CERTIFICATE: Final = re.compile(rb"^-----BEGIN (?:TRUSTED |X509 )?CERTIFICATE-----", re.MULTILINE)
_PRIVATE_KEY: Final = re.compile(rb"^-----BEGIN (?:[A-Z0-9]+ )*PRIVATE KEY-----", re.MULTILINE)
_ENCRYPTED: Final = re.compile(rb"^-----BEGIN ENCRYPTED PRIVATE KEY-----|^Proc-Type: 4,ENCRYPTED", re.MULTILINE)

_USABLE_KEYS: Final = (
    bytes.fromhex("06092a864886f70d010101"),  # RSA
    bytes.fromhex("06082a8648ce3d030107"),  # the curve P-256
    bytes.fromhex("06052b81040022"),  # the curve P-384
)
"""Kinds of public keys, as a certificate names them, with which handshakes of gRPC succeed.

gRPC starts with some others as well, and then each handshake fails.
"""

Value = TypeVar("Value")


class PemError(ValueError):
    """A file cannot be read, or is not what it should be; the message names the file and says why."""


@dataclass(frozen=True, slots=True)
class KeyPair:
    """A certificate, with those that lead from it to its authority, and its key; as PEM."""

    certificate: bytes
    key: bytes = field(repr=False)


def read_pair(certificate_file: str, key_file: str, known: KeyPair | None = None) -> KeyPair:
    """A certificate and the key that belongs to it; `known` is what was read before. Raises PemError."""
    pair = _pair(certificate_file, key_file)
    if pair == known:
        return known  # To check a pair takes some milliseconds.
    check_certificates(certificate_file, pair.certificate)
    if not any(kind in _first_certificate(pair.certificate) for kind in _USABLE_KEYS):
        raise PemError(
            f"The certificate in {certificate_file} has a key of a kind that gRPC cannot use: "
            "make one with RSA, or on the curve P-256 or P-384."
        )
    if not _PRIVATE_KEY.search(pair.key):
        raise PemError(f"{key_file} holds no private key in PEM form.")
    if _ENCRYPTED.search(pair.key):
        raise PemError(f"The key in {key_file} is encrypted; keep it without a password, readable by its owner alone.")
    try:
        # OpenSSL reads the files itself: from bytes it takes no key.
        ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER).load_cert_chain(certificate_file, key_file, password=_refuse)
    except ssl.SSLError as error:
        if error.reason == "KEY_VALUES_MISMATCH":
            message = f"The key in {key_file} does not belong to the certificate in {certificate_file}."
            raise PemError(message) from error
        raise PemError(f"The key in {key_file} cannot be used: {_reason(error)}.") from error
    except OSError as error:
        raise PemError(f"{certificate_file} or {key_file} cannot be read: {error.strerror}.") from error
    if _pair(certificate_file, key_file) != pair:
        raise PemError(f"{certificate_file} and {key_file} changed while they were read.")
    return pair


def read_authorities(file: str, known: bytes | None = None) -> bytes:
    """The certificates of authorities; `known` is what was read before. Raises PemError."""
    content = _content(file)
    if content != known:
        check_certificates(file, content)
    return content


def check_certificates(file: str, content: bytes) -> None:
    """Refuse what is no certificate. Raises PemError, which names the file."""
    if not _CERTIFICATE.search(content):
        raise PemError(f"{file} holds no certificate in PEM form.")
    try:
        ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER).load_verify_locations(cadata=content.decode("ascii", "replace"))
    except (ssl.SSLError, ValueError) as error:
        raise PemError(f"The certificate in {file} cannot be read: {_reason(error)}.") from error


class Watched(Generic[Value]):
    """A value from files, which is read again when it is asked for, at most once a second.

    `read` is given what it had read before, None the first time. Where files are broken, the value stays as it was, and
    `complain` is told why, at most once a minute.
    """

    def __init__(
        self,
        read: Callable[[Value | None], Value],
        complain: Callable[[str], None],
        monotonic_ns: Callable[[], int] = time.monotonic_ns,
    ) -> None:
        """Raises PemError where they are broken from the start."""
        self._value = read(None)
        self._read = read
        self._complain = complain
        self._monotonic_ns = monotonic_ns
        self._checked_ns = monotonic_ns()
        self._complained_ns: int | None = None
        self._lock = threading.Lock()
        self.failed_reads = 0
        """Number of times that the files were found broken."""

    def current(self) -> Value:
        """The newest value that was whole; the same object as before where nothing has changed."""
        # Handshakes come on several threads: while one of them reads, the others go on with what there is.
        if self._monotonic_ns() - self._checked_ns >= CHECK_INTERVAL_NS and self._lock.acquire(blocking=False):
            try:
                self._check()
            finally:
                self._lock.release()
        return self._value

    def _check(self) -> None:
        self._checked_ns = now_ns = self._monotonic_ns()
        try:
            value = self._read(self._value)
        except PemError as error:
            self.failed_reads += 1
            if self._complained_ns is None or now_ns - self._complained_ns >= COMPLAINT_INTERVAL_NS:
                self._complained_ns = now_ns
                self._complain(str(error))
            return
        self._complained_ns = None
        if value != self._value:
            self._value = value


def _pair(certificate_file: str, key_file: str) -> KeyPair:
    return KeyPair(_content(certificate_file), _content(key_file))


def _first_certificate(content: bytes) -> bytes:
    """In the binary form. The certificates were checked before; a key may stand in front of them."""
    begin = _CERTIFICATE.search(content)
    assert begin is not None
    return base64.b64decode(content[begin.end() :].split(b"-----END", maxsplit=1)[0])


def _content(file: str) -> bytes:
    try:
        return Path(file).read_bytes()
    except OSError as error:
        raise PemError(f"{file} cannot be read: {error.strerror}.") from error


def _refuse() -> NoReturn:
    """OpenSSL would ask whoever sits at the terminal."""
    raise PemError("a password is wanted")


def _reason(error: Exception) -> str:
    reason = getattr(error, "reason", None)
    return str(reason).lower().replace("_", " ") if reason else "it is cut off or garbled"
