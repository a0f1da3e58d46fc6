"""What a client can be told to do differently."""

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
        heartbeat_ms: An idle stream says something this often.
        silence_ms: Beyond the heartbeat's interval, a node that says nothing for so long counts as gone.
        answer_ms: How long a question waits for its answer, reconnects included, before it is Unreachable.
        receipt_ms: How long leaving a request's context waits for its receipt.
        close_ms: How long closing waits for everything said to be durable.
        backoff_base_ms: The first wait between attempts to connect is up to this long; each further one up to twice.
        backoff_cap_ms: No wait between attempts to connect is longer.
        open_requests_max: Requests in memory at once: those that run and those whose finish is not durable yet.
        unreachable_tokens_max: With `on_unreachable="allow"`, so many tokens go on without an answer at once, input and
            output, of all requests together, until nodes have recorded them.
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
