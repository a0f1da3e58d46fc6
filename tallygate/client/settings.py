"""Settings of a client."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

OnUnreachable = Literal["deny", "allow"]
"""Fate of a request when no node answers: refused with Unreachable, or let go on for a bounded while."""


@dataclass(frozen=True, slots=True)
class ClientSettings:
    """Defaults fit a server in one data centre with its metering nodes. Times are in milliseconds.

    Attributes:
        heartbeat_ms: Interval of the heartbeat on an idle stream.
        silence_ms: Timeout, added to the heartbeat's interval, after which a silent node counts as gone.
        answer_ms: Timeout of a report's answer, reconnects included; then it is Unreachable.
        receipt_ms: Timeout of the receipt when a request's context is left.
        close_ms: Timeout of closing, which waits until all finishes are durable.
        backoff_base_ms: Maximum of the first wait between attempts to connect; it doubles with each further one.
        backoff_cap_ms: Maximum of any wait between attempts to connect.
        open_requests_max: Maximum number of requests in memory: those that run and those whose finish is not durable.
        unreachable_tokens_max: Maximum number of tokens without an answer, with `on_unreachable="allow"`: input and
            output of all requests together, until nodes have recorded them.
    """

    heartbeat_ms: int = 1_000
    silence_ms: int = 1_000
    answer_ms: int = 5_000
    receipt_ms: int = 1_000
    close_ms: int = 10_000
    backoff_base_ms: int = 50
    backoff_cap_ms: int = 2_000
    open_requests_max: int = 10_000
    unreachable_tokens_max: int = 100_000


def parse_addresses(addresses: str | Sequence[str]) -> tuple[str, ...]:
    """`HOST:PORT`s from one, from several with commas between them, or from a sequence.

    Raises:
        ValueError: There is none.
    """
    parts = addresses.split(",") if isinstance(addresses, str) else addresses
    found = tuple(part.strip() for part in parts if part.strip())
    if not found:
        raise ValueError("a metering client needs at least one address, such as 127.0.0.1:7402")
    return found
