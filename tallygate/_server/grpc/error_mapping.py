"""The one place where an exception of our servicers becomes a gRPC status."""

import inspect
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from typing import Any, Final, Never, TypeAlias, TypeVar

import grpc
import structlog
from google.protobuf.message import DecodeError, Message
from grpc_status import rpc_status

from tallygate._server.grpc.access_rules import MethodRule, rule_of
from tallygate._server.grpc.call import Call, current_trace_id, set_call
from tallygate._server.grpc.caller import current_caller, set_caller, set_readmission
from tallygate._server.grpc.failures import RpcStatusError, status_of
from tallygate._server.grpc.gate import Gate
from tallygate._server.grpc.paging import set_page_keys
from tallygate._server.grpc.rpc_counts import CANCELLED, OK, RpcCounts
from tallygate._server.grpc.unreadable import explain
from tallygate._server.page_keys import PageKeys

Translate: TypeAlias = Callable[[Exception], RpcStatusError | None]
Context: TypeAlias = grpc.aio.ServicerContext[Any, Any]
Handler: TypeAlias = "grpc.RpcMethodHandler[Any, Any]"  # generic for the type checker only
Read: TypeAlias = Callable[[bytes], Any]
Admit: TypeAlias = Callable[[Any, Context], Awaitable[None]]
Method = TypeVar("Method", bound=Callable[..., Any])

_log = structlog.get_logger(__name__)
_CODES: Final = {code.value[0]: code.name for code in grpc.StatusCode}
_REFUSALS: Final = frozenset({grpc.StatusCode.UNAUTHENTICATED, grpc.StatusCode.PERMISSION_DENIED})
"""Codes by which a servicer refuses a caller whom the gate has let in."""


def reads_by(read: Read) -> Callable[[Method], Method]:
    """Has the messages of a servicer's method read by a function of its own, which raises DecodeError if it cannot."""

    def mark(method: Method) -> Method:
        method.__dict__["reads_by"] = read
        return method

    return mark


class Guard:
    """A server as generated code adds servicers to it. What a method raises ends its call with a status.

    It is the status that `translate` finds for the exception. `translate` knows the service's own exceptions and
    answers None for all others. Those are bugs: they are logged with their traceback and a trace id, and the caller
    gets INTERNAL with that id and nothing else. Bytes that are not the message that they should be are
    INVALID_ARGUMENT; left to grpc they would be UNKNOWN, with a traceback in the log for each.

    Before a method is called, the gate asks who calls, and whether that caller may.

    Methods are wrapped as they are added. An interceptor would be asked for each call again, which takes 10 us.
    """

    def __init__(
        self,
        server: grpc.aio.Server,
        translate: Translate,
        gate: Gate,
        page_keys: PageKeys,
        counts: RpcCounts | None = None,
    ) -> None:
        self._counts = counts or RpcCounts()
        self._server = server
        self._translate = translate
        self._gate = gate
        self._page_keys = page_keys

    def add_generic_rpc_handlers(self, generic_rpc_handlers: Sequence[Any]) -> None:
        """Nothing to do: generated code adds the same methods by name as well."""

    def add_registered_method_handlers(self, service_name: str, method_handlers: Mapping[str, Handler]) -> None:
        """Add the methods of a service, by name.

        Not as registered methods: for each of these grpc.aio has a task that waits for the next call, and whenever a
        call comes it walks through all of them.
        """
        guarded = {name: self._guarded(handler, service_name, name) for name, handler in method_handlers.items()}
        self._server.add_generic_rpc_handlers([grpc.method_handlers_generic_handler(service_name, guarded)])

    def _guarded(self, handler: Handler, service_name: str, name: str) -> Handler:
        kind, make = _kind_of(handler)
        method = getattr(handler, kind)
        return make(
            self._wrap(method, f"/{service_name}/{name}", rule_of(service_name, name)),
            request_deserializer=_reader(handler, getattr(method, "reads_by", None)),
            response_serializer=handler.response_serializer,
        )

    def _admission(self, rule: MethodRule | None) -> Admit:
        """What each call of a method passes first."""
        gate, page_keys = self._gate, self._page_keys

        async def admit(request: Any, context: Context) -> None:
            set_page_keys(page_keys)
            if not gate.is_open:
                message = _message(request)
                set_caller(await gate.admit(rule, message, context))
                if message is None:
                    set_readmission(lambda: gate.admit(rule, None, context))
            _require_readable(request)

        return admit

    def _wrap(self, method: Callable[..., Any], name: str, rule: MethodRule | None) -> Callable[..., Any]:
        return (self._wrap_generator if inspect.isasyncgenfunction(method) else self._wrap_coroutine)(
            method, name, rule
        )

    def _wrap_generator(
        self, method: Callable[..., Any], name: str, rule: MethodRule | None
    ) -> Callable[..., AsyncIterator[Any]]:
        admit, all_counts, counts = self._admission(rule), self._counts, self._counts.of(name[1:])

        async def generator(request: Any, context: Context) -> AsyncIterator[Any]:
            admitted, code, began_ns = False, CANCELLED, time.perf_counter_ns()
            counts.open_count += 1
            set_call(call := Call(name, context, all_counts.spans))
            try:
                await admit(request, context)
                admitted = True
                async for response in method(request, context):
                    yield response
                code = OK
            except grpc.aio.AbortError:
                code = _code_of(context)
                raise
            except Exception as error:  # noqa: BLE001  # every exception ends as a status, none is swallowed
                failure = self._failure(error, context, name)
                code = failure.code.name
                await self._abort(failure, context, rule if admitted else None, request)
            finally:
                counts.end(code, time.perf_counter_ns() - began_ns)
                call.end(code)

        return generator

    def _wrap_coroutine(
        self, method: Callable[..., Any], name: str, rule: MethodRule | None
    ) -> Callable[..., Awaitable[Any]]:
        admit, all_counts, counts = self._admission(rule), self._counts, self._counts.of(name[1:])
        is_open, page_keys = self._gate.is_open, self._page_keys

        async def coroutine(request: Any, context: Context) -> Any:
            admitted, code, began_ns = False, CANCELLED, time.perf_counter_ns()
            counts.open_count += 1
            set_call(call := Call(name, context, all_counts.spans))
            try:
                if is_open:
                    # As `admit` does; a coroutine more would be a good part of what is ours of a call.
                    set_page_keys(page_keys)
                    _require_readable(request)
                else:
                    await admit(request, context)
                admitted = True
                response = await method(request, context)
                code = OK
            except grpc.aio.AbortError:
                code = _code_of(context)
                raise
            except Exception as error:  # noqa: BLE001  # as above
                failure = self._failure(error, context, name)
                code = failure.code.name
                await self._abort(failure, context, rule if admitted else None, request)
            else:
                return response
            finally:
                counts.end(code, time.perf_counter_ns() - began_ns)
                call.end(code)

        return coroutine

    def _failure(self, error: Exception, context: Context, name: str) -> RpcStatusError:
        """What the caller is told of an exception."""
        if isinstance(error, NotImplementedError) and context.code() is grpc.StatusCode.UNIMPLEMENTED:
            # As generated code has it for the methods that a servicer does not have.
            return RpcStatusError(grpc.StatusCode.UNIMPLEMENTED, "", f"This server has no {name}.")
        failure = error if isinstance(error, RpcStatusError) else self._translate(error)
        if failure is None:
            self._counts.unexpected += 1
            failure = _unexpected(error, name)
        return failure

    async def _abort(
        self, failure: RpcStatusError, context: Context, admitted: MethodRule | None, request: Any
    ) -> Never:
        """Ends a call; `admitted` is the rule of its method where the gate has let it in, and has told nobody of it."""
        if failure.code is grpc.StatusCode.UNIMPLEMENTED:
            await context.abort(failure.code, failure.message)
        if admitted is not None and failure.code in _REFUSALS:
            self._gate.tell(failure, admitted, _message(request), context, current_caller())
        await context.abort_with_status(rpc_status.to_status(status_of(failure)))


def _code_of(context: Context) -> str:
    """The code by which a servicer has ended a call itself."""
    code: Any = context.code()  # grpc.aio gives a number once a call was aborted
    return code.name if isinstance(code, grpc.StatusCode) else _CODES.get(code, "UNKNOWN")


def _reader(handler: Handler, read: Read | None) -> Read | None:
    """Reads requests. What cannot be read is raised to whoever reads a stream, and else takes the request's place."""
    parse = read or handler.request_deserializer
    descriptor = getattr(getattr(handler.request_deserializer, "__self__", None), "DESCRIPTOR", None)
    if parse is None or descriptor is None:
        return parse

    def reader(data: bytes) -> Any:
        try:
            return parse(data)
        except DecodeError:
            failure = _unreadable(*explain(descriptor, data))
            if handler.request_streaming:
                raise failure from None
            return failure

    return reader


def _message(request: Any) -> Message | None:
    """The request; None of a stream, and of what could not be read."""
    return request if isinstance(request, Message) else None


def _require_readable(request: Any) -> None:
    if isinstance(request, RpcStatusError):
        raise request


def _unreadable(path: str, what: str) -> RpcStatusError:
    return RpcStatusError(
        code=grpc.StatusCode.INVALID_ARGUMENT,
        reason="INVALID_REQUEST",
        message=f"{path} {what}." if path else f"This message {what}.",
        violations=[(path, what)] if path else (),
    )


def _kind_of(handler: Handler) -> tuple[str, Callable[..., Handler]]:
    if handler.request_streaming and handler.response_streaming:
        return "stream_stream", grpc.stream_stream_rpc_method_handler
    if handler.response_streaming:
        return "unary_stream", grpc.unary_stream_rpc_method_handler
    if handler.request_streaming:
        return "stream_unary", grpc.stream_unary_rpc_method_handler
    return "unary_unary", grpc.unary_unary_rpc_method_handler


def _unexpected(error: Exception, name: str) -> RpcStatusError:
    trace_id = current_trace_id()
    _log.error("call_failed_unexpectedly", method=name, trace_id=trace_id, exc_info=error)
    return RpcStatusError(
        code=grpc.StatusCode.INTERNAL,
        reason="INTERNAL",
        message=f"The server made a mistake; its log tells more under trace id {trace_id}.",
        metadata={"trace_id": trace_id},
    )
