"""Headers of a proxy: what it passes on, and what is between it and one neighbour alone (RFC 9110, section 7.6.1)."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

Headers = list[tuple[bytes, bytes]]

HOP_BY_HOP: Final = frozenset(
    {
        b"connection",
        b"keep-alive",
        b"proxy-authenticate",
        b"proxy-authorization",
        b"proxy-connection",
        b"te",
        b"trailer",
        b"transfer-encoding",
        b"upgrade",
    }
)
CREDENTIALS: Final = frozenset({b"authorization", b"x-api-key", b"api-key", b"cookie"})
"""Headers by which end users prove who they are to this proxy; an upstream has no use for them."""
_MADE_ANEW: Final = frozenset({b"host", b"content-length", b"accept-encoding", b"expect"})


def request_headers(headers: Iterable[tuple[bytes, bytes]], upstream_key: str) -> list[tuple[str, str]]:
    """Headers of a request as the upstream gets them, with the upstream's own key where it has one."""
    passed = _end_to_end(headers)
    kept = [(name, value) for name, value in passed if name not in CREDENTIALS and name not in _MADE_ANEW]
    texts = [(name.decode("latin-1"), value.decode("latin-1")) for name, value in kept]
    # Compressed answers could not be counted, nor ended in the middle.
    texts.append(("accept-encoding", "identity"))
    return [*texts, ("authorization", f"Bearer {upstream_key}")] if upstream_key else texts


def response_headers(headers: Iterable[tuple[bytes, bytes]]) -> Headers:
    """Headers of an answer as the client gets them."""
    return _end_to_end(headers)


def _end_to_end(headers: Iterable[tuple[bytes, bytes]]) -> Headers:
    lowered = [(name.lower(), value) for name, value in headers]
    listed = b",".join(value for name, value in lowered if name == b"connection")
    named = {one.strip().lower() for one in listed.split(b",")}
    return [(name, value) for name, value in lowered if name not in HOP_BY_HOP and name not in named]
