"""The call that a task serves: what log lines say of it, found out only once there is a line."""

import re
import secrets
from collections.abc import Mapping
from contextvars import ContextVar
from functools import cached_property
from typing import Any, Final, Protocol, TypeAlias

import grpc

Context: TypeAlias = "grpc.aio.ServicerContext[Any, Any]"

TRACEPARENT: Final = re.compile(r"[0-9a-f]{2}-(?P<trace>[0-9a-f]{32})-[0-9a-f]{16}-(?P<flags>[0-9a-f]{2})")
"""Form of a W3C `traceparent`."""
TRACEPARENT_KEY: Final = "traceparent"


class Span(Protocol):
    """The span of one call."""

    trace_id: str

    def end(self, code: str) -> None:
        """The call has ended with this code."""


class Spans(Protocol):
    """Makes spans of calls."""

    def begin(self, method: str, traceparent: str) -> Span:
        """A call begins; `traceparent` as its caller sent it, or empty."""


class Call:
    """One RPC; with a span, where calls are traced."""

    def __init__(self, method: str, context: Context, spans: Spans | None = None) -> None:
        self.method = method
        self._context: Context | None = context
        self._span = spans.begin(method, self._traceparent) if spans is not None else None

    def end(self, code: str) -> None:
        """It has ended with this code: gRPC takes its metadata away, and what is left of it is read no more."""
        self._context = None
        if self._span is not None:
            self._span.end(code)

    @property
    def has_ended(self) -> bool:
        """Whether it has; tasks that it began may go on, for others as well."""
        return self._context is None

    @property
    def _traceparent(self) -> str:
        metadata = () if self._context is None else self._context.invocation_metadata() or ()
        return next((str(value) for key, value in metadata if key == TRACEPARENT_KEY), "")

    @cached_property
    def trace_id(self) -> str:
        """The span's, or the caller's W3C trace id, or a new one."""
        if self._span is not None:
            return self._span.trace_id
        match = TRACEPARENT.fullmatch(self._traceparent)
        return match["trace"] if match is not None else secrets.token_hex(16)


_CALL: Final[ContextVar[Call | None]] = ContextVar("call", default=None)


def set_call(call: Call) -> None:
    """Remember the call for the tasks that serve it; the guard does."""
    _CALL.set(call)


def current_trace_id() -> str:
    """The trace id of the call that this task serves; a new one outside of any."""
    call = _CALL.get()
    return call.trace_id if call is not None else secrets.token_hex(16)


def call_fields() -> Mapping[str, str]:
    """What a log line says of the call that this task serves; nothing outside of any, or once it has ended."""
    call = _CALL.get()
    return {} if call is None or call.has_ended else {"method": call.method, "trace_id": call.trace_id}
