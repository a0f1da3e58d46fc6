"""Plain values of what a client and a metering node exchange."""

from __future__ import annotations

from dataclasses import dataclass

from tallygate.client.errors import Denial


@dataclass(frozen=True, slots=True)
class Usage:
    """Cumulative token counts of one request, by kind. The kinds are disjoint."""

    input_tokens: int = 0
    cached_input_tokens: int = 0
    cache_write_tokens: int = 0
    output_tokens: int = 0
    reasoning_tokens: int = 0

    @property
    def input_class_tokens(self) -> int:
        """Everything that went in."""
        return self.input_tokens + self.cached_input_tokens + self.cache_write_tokens

    @property
    def output_class_tokens(self) -> int:
        """Everything that came out: what a grant's ceiling counts."""
        return self.output_tokens + self.reasoning_tokens

    @property
    def total_tokens(self) -> int:
        """All of it."""
        return self.input_class_tokens + self.output_class_tokens


@dataclass(frozen=True, slots=True)
class Grant:
    """How far a request may go: a ceiling on its output class, and until when on the client's monotonic clock."""

    output_ceiling_tokens: int
    is_final: bool
    valid_until_ns: int
    resume: bytes = b""


@dataclass(frozen=True, slots=True)
class Receipt:
    """Who paid for a request's tokens, and what they cost. The four payers add up to `usage`, kind by kind."""

    usage: Usage
    reserved: Usage
    trial: Usage
    billed: Usage
    unfunded: Usage
    overrun_tokens: int
    cost_nanos: int
    debt_nanos: int
    price_version: int
    revision: int


@dataclass(frozen=True, slots=True)
class Record:
    """The record of usage whose request was not authorised.

    `denial` has the reason why the service may not go on; None means that it may. The usage is on record all the same.
    """

    request_id: str
    receipt: Receipt | None
    denial: Denial | None = None
