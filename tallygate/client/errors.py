"""What can go wrong for an inference server that meters its requests."""

from __future__ import annotations

from dataclasses import dataclass


class MeteringError(Exception):
    """Root of everything that this package raises on purpose."""


class Unreachable(MeteringError):  # noqa: N818  # callers read `except Unreachable`
    """No metering node answered in time: nothing is known, which is not the same as refused."""


class Overloaded(MeteringError):  # noqa: N818  # callers read `except Overloaded`
    """This client has as many open requests as it may hold in memory."""


@dataclass(frozen=True, slots=True)
class Denial:
    """Why a request may not go on.

    `reason` is a name of DecisionReason without its prefix, such as `NOT_ENABLED`; `message` is the same as a sentence.
    `retryable` says whether the same request may pass later without anybody doing anything, then after
    `retry_after_ms`. `remaining_tokens` and `remaining_nanos` say what is left where the request was merely larger.
    """

    reason: str
    message: str
    retryable: bool = False
    retry_after_ms: int = 0
    remaining_tokens: int | None = None
    remaining_nanos: int | None = None


class Denied(MeteringError):  # noqa: N818  # callers read `except Denied`
    """A metering node said no; `denial` says why."""

    def __init__(self, denial: Denial) -> None:
        super().__init__(f"{denial.reason}: {denial.message}")
        self.denial = denial

    @property
    def reason(self) -> str:
        """Name of the reason, such as `NOT_ENABLED`."""
        return self.denial.reason

    @property
    def message(self) -> str:
        """The reason as a sentence."""
        return self.denial.message

    @property
    def retryable(self) -> bool:
        """Whether the same request may pass later without anybody doing anything."""
        return self.denial.retryable

    @property
    def retry_after_ms(self) -> int:
        """How long to wait before trying again."""
        return self.denial.retry_after_ms
