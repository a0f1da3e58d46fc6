"""Bounds of a node on reports, known here too: a larger report is refused before it is sent.

A message with one report that is far too large would break the stream, and be the first to be repeated on the next.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from typing import Final

from tallygate.client.state import RequestState
from tallygate.client.values import Usage

REQUEST_ID_BYTES_MAX: Final = 64
NAME_BYTES_MAX: Final = 256
"""Maximum length of a service's name, a credential, a model, an address."""
SHA256_BYTES: Final = 32
UNSENDABLE: Final = b"\0"
"""Hash of a credential that no node would take."""
LABELS_MAX: Final = 8
LABEL_BYTES_MAX: Final = 64
TOKENS_MAX: Final = 100_000_000
"""Maximum number of tokens of one kind in one request."""
HOLD_FOR_S_MAX: Final = 3_600
SHORTEST_HOLD_S: Final = 1e-9


def problem(state: RequestState) -> str:
    """What a node would find wrong with a new request, as one sentence; empty if nothing is."""
    too_long = next((name for name, text, bytes_max in _texts(state) if _exceeds(text, bytes_max)), "")
    if too_long:
        return f"{too_long} is too long, or not text that can be sent."
    if len(state.key_sha256) not in {0, SHA256_BYTES}:
        return "credential is too long, or not text that can be sent; or credential_sha256 is not 32 bytes long."
    if not (state.service or state.key_sha256):
        return "A request needs a service, or a credential that leads to one."
    if len(state.labels or ()) > LABELS_MAX:
        return f"labels has more than {LABELS_MAX} entries."
    counts = (*_counts(state.usage()), state.max_output_tokens or 0)
    if not all(_is_number(count) and count <= TOKENS_MAX for count in counts):
        return f"A count or max_output_tokens is no whole number from 0 to {TOKENS_MAX:,}."
    return _problem_of_whole(state)


def _problem_of_whole(state: RequestState) -> str:
    hold_for_s, least = state.hold_for_s, state.min_output_tokens
    if not state.whole and (hold_for_s is not None or least is not None):
        return "hold_for_s and min_output_tokens are only for an answer that comes as a whole: say whole=True as well."
    if hold_for_s is not None and not SHORTEST_HOLD_S <= hold_for_s <= HOLD_FOR_S_MAX:
        return f"hold_for_s is not longer than zero and at most {HOLD_FOR_S_MAX:,}."
    if least is not None and not (_is_number(least) and least <= TOKENS_MAX):
        return f"min_output_tokens is no whole number from 0 to {TOKENS_MAX:,}."
    return ""


def hash_of(credential: str) -> bytes:
    """The SHA-256 of an API key, which leaves this process in its stead; empty for none."""
    if _exceeds(credential, NAME_BYTES_MAX):
        return UNSENDABLE
    return hashlib.sha256(credential.encode()).digest() if credential else b""


def check_sendable(usage: Usage) -> None:
    """Raises ValueError for counts that cannot be put into a report at all."""
    if not all(map(_is_number, _counts(usage))):
        raise ValueError(f"{usage} has a count that is no whole number, or below 0, or far too large")


def _counts(usage: Usage) -> tuple[int, ...]:
    return (
        usage.input_tokens,
        usage.cached_input_tokens,
        usage.cache_write_tokens,
        usage.output_tokens,
        usage.reasoning_tokens,
    )


def _texts(state: RequestState) -> Iterable[tuple[str, str, int]]:
    yield "request_id", state.request_id, REQUEST_ID_BYTES_MAX
    yield "service", state.service, NAME_BYTES_MAX
    yield "model", state.model, NAME_BYTES_MAX
    yield "source_address", state.source_address, NAME_BYTES_MAX
    for key, value in (state.labels or {}).items():
        yield "a key of labels", key, LABEL_BYTES_MAX
        yield "a value of labels", value, LABEL_BYTES_MAX


def _exceeds(text: str, bytes_max: int) -> bool:
    if len(text) > bytes_max or text.isascii():
        return len(text) > bytes_max
    try:
        return len(text.encode()) > bytes_max
    except UnicodeEncodeError:
        return True


def _is_number(count: object) -> bool:
    return isinstance(count, int) and 0 <= count < 1 << 62
