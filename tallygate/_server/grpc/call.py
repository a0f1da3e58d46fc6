"""The call that a task serves: what log lines say of it, found out only once there is a line."""

import re
import secrets
from collections.abc import Mapping
from contextvars import ContextVar
from functools import cached_property
from typing import Any, Final, TypeAlias

import grpc

Context: TypeAlias = "grpc.aio.ServicerContext[Any, Any]"

TRACEPARENT: Final = re.compile(r"[0-9a-f]{2}-(?P<trace>[0-9a-f]{32})-[0-9a-f]{16}-(?P<flags>[0-9a-f]{2})")
"""Form of a W3C `traceparent`."""
TRACEPARENT_KEY: Final = "traceparent"


class Call:
    """One RPC."""

    def __init__(self, method: str, context: Context) -> None:
        self.method = method
        self._context = context

    @cached_property
    def trace_id(self) -> str:
        """The caller's W3C trace id, or a new one."""
        for key, value in self._context.invocation_metadata() or ():
            if key == TRACEPARENT_KEY and isinstance(value, str) and (match := TRACEPARENT.fullmatch(value)):
                return match["trace"]
        return secrets.token_hex(16)


_CALL: Final[ContextVar[Call | None]] = ContextVar("call", default=None)


def set_call(call: Call) -> None:
    """Remember the call for the tasks that serve it; the guard does."""
    _CALL.set(call)


def current_trace_id() -> str:
    """The trace id of the call that this task serves; a new one outside of any."""
    call = _CALL.get()
    return call.trace_id if call is not None else secrets.token_hex(16)


def call_fields() -> Mapping[str, str]:
    """What a log line says of the call that this task serves; nothing outside of any."""
    call = _CALL.get()
    return {"method": call.method, "trace_id": call.trace_id} if call is not None else {}
