"""Errors that an inference server meets when it meters its requests.

MeteringError
  Denied        a node denied the request
  Unreachable   no node answered: nothing is known
  Overloaded    this client has too many open requests
  Forked        this client belongs to the parent of this process
"""

from __future__ import annotations

from dataclasses import dataclass

from tallygate.client.rate_status import RateStatus


class MeteringError(Exception):
    """Root of everything that this package raises on purpose.

    Attributes:
        reason: A name for programs, such as `NOT_ENABLED` or `UNREACHABLE`.
        message: The same as a sentence for people.
        retryable: Whether the same request may pass later without anybody doing anything.
        retry_after_ms: How long to wait before that, in milliseconds; 0 where nobody knows.
    """

    reason: str = ""
    retryable: bool = False

    def __init__(self, message: str, *, retry_after_ms: int = 0) -> None:
        super().__init__(message)
        self.message = message
        self.retry_after_ms = retry_after_ms


class Unreachable(MeteringError):  # noqa: N818  # callers read `except Unreachable`
    """No metering node answered in time: nothing is known, which is not the same as refused."""

    reason = "UNREACHABLE"
    retryable = True


class Overloaded(MeteringError):  # noqa: N818  # callers read `except Overloaded`
    """This client has as many open requests as it may hold in memory."""

    reason = "OPEN_REQUESTS_MAX"
    retryable = True


class Forked(MeteringError):  # noqa: N818  # as its siblings
    """This client was started before this process was forked: its connection belongs to the parent."""

    reason = "FORKED"


@dataclass(frozen=True, slots=True)
class Denial:
    """Why a request may not go on.

    Attributes:
        reason: A name of DecisionReason without its prefix, such as `NOT_ENABLED`.
        message: The same as a sentence.
        retryable: Whether the same request may pass later without anybody doing anything.
        retry_after_ms: How long to wait before that, in milliseconds.
        remaining_tokens: What is left, in tokens, where the request was merely larger.
        remaining_nanos: What is left, in nanos of the account's currency, where the request was merely larger.
        rate: How things stand with the rate rule that refused, where one did.
    """

    reason: str
    message: str
    retryable: bool = False
    retry_after_ms: int = 0
    remaining_tokens: int | None = None
    remaining_nanos: int | None = None
    rate: RateStatus | None = None


class Denied(MeteringError):  # noqa: N818  # callers read `except Denied`
    """A metering node denied the request; `denial` has the reason, and so do the attributes of every MeteringError."""

    def __init__(self, denial: Denial) -> None:
        super().__init__(denial.message, retry_after_ms=denial.retry_after_ms)
        self.denial = denial
        self.reason = denial.reason
        self.retryable = denial.retryable

    def __str__(self) -> str:
        return f"{self.reason}: {self.message}"
