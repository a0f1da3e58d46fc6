"""How an exception in a servicer looks to the caller."""

from collections.abc import Awaitable, Callable
from typing import Any

import grpc
import pytest
from google.protobuf.message import Message
from google.rpc.error_details_pb2 import BadRequest, ErrorInfo, PreconditionFailure, RetryInfo
from grpc_status import rpc_status
from structlog.testing import capture_logs

from tallygate._server.grpc.failures import VIOLATIONS_MAX, RpcStatusError
from tallygate._server.grpc.server import GrpcServer
from tallygate.metering.v1 import metering_service_pb2, metering_service_pb2_grpc
from tests.harness.patience import PATIENCE_S
from tests.harness.wire.grpcurl import grpcurl
from tests.harness.wire.scripted_server import METERING, DomainError, Serving, serving, translate


def raising(error: Exception) -> Callable[[], Awaitable[None]]:
    async def script() -> None:
        raise error

    return script


async def unary(it: Serving) -> None:
    await it.authorize()


async def stream(it: Serving) -> None:
    call = it.stub.Meter(timeout=PATIENCE_S)
    await call.write(metering_service_pb2.MeterRequest())
    await call.read()


async def failure_of(error: Exception, call: Callable[[Serving], Awaitable[None]] = unary) -> grpc.aio.AioRpcError:
    """What the caller of a servicer that raised this gets to see."""
    async with serving(raising(error)) as it:
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await call(it)
    return caught.value


def details_of(error: grpc.aio.AioRpcError) -> list[Message]:
    unpacked: list[Message] = []
    for packed in rpc_status.from_call(error).details:
        for kind in (ErrorInfo, BadRequest, PreconditionFailure, RetryInfo):
            message = kind()
            if packed.Unpack(message):
                unpacked.append(message)
    return unpacked


@pytest.mark.parametrize("call", [unary, stream])
async def test_a_domain_error_becomes_what_the_service_says(call: Callable[[Serving], Awaitable[None]]) -> None:
    """Unary calls and streams fail with code, sentence and ErrorInfo of the translation."""
    error = await failure_of(DomainError("There is no model x."), call)
    assert error.code() is grpc.StatusCode.NOT_FOUND
    assert error.details() == "There is no model x."
    assert details_of(error) == [
        ErrorInfo(reason="RESOURCE_NOT_FOUND", domain="tallygate", metadata={"resource": "models/x"})
    ]


async def test_violations_of_fields_are_told_one_by_one_up_to_a_bound() -> None:
    """BadRequest names the fields; what would not fit into trailers is left out."""
    violations = [(f"field_{n}", "is required") for n in range(VIOLATIONS_MAX + 1)]
    error = await failure_of(
        RpcStatusError(grpc.StatusCode.INVALID_ARGUMENT, "INVALID_REQUEST", "Wrong.", violations=violations)
    )
    _, bad_request = details_of(error)
    assert isinstance(bad_request, BadRequest)
    told = [(each.field, each.description) for each in bad_request.field_violations]
    assert told == violations[:VIOLATIONS_MAX]


async def test_a_failure_in_very_many_words_still_arrives() -> None:
    """It is cut, and so are its details: trailers are bounded, and what is beyond them is another failure."""
    failure = RpcStatusError(
        grpc.StatusCode.INVALID_ARGUMENT,
        "INVALID_REQUEST",
        "Wrong: " + "x" * 100_000,
        {"resource": "y" * 100_000},
        violations=[(f"field_{number}", "z" * 1_000) for number in range(VIOLATIONS_MAX)],
    )
    error = await failure_of(failure)
    assert error.code() is grpc.StatusCode.INVALID_ARGUMENT
    assert (error.details() or "").startswith("Wrong: xxx")
    assert (error.details() or "").endswith("xxx...")
    info, request = details_of(error)
    assert isinstance(info, ErrorInfo)
    assert info.metadata["resource"].startswith("yyy")
    assert isinstance(request, BadRequest)
    assert [each.field for each in request.field_violations] == ["field_0", "field_1"]


async def test_a_failed_precondition_names_what_is_missing() -> None:
    """FAILED_PRECONDITION carries the reason also as a PreconditionFailure on its subject."""
    error = await failure_of(
        RpcStatusError(
            grpc.StatusCode.FAILED_PRECONDITION,
            "NO_PRICE_IN_FORCE",
            "Model x has no price.",
            {"model": "models/x"},
        )
    )
    _, precondition = details_of(error)
    assert isinstance(precondition, PreconditionFailure)
    (violation,) = precondition.violations
    assert (violation.type, violation.subject) == ("NO_PRICE_IN_FORCE", "models/x")


async def test_what_may_work_later_says_when() -> None:
    """RetryInfo carries the delay."""
    error = await failure_of(
        RpcStatusError(grpc.StatusCode.UNAVAILABLE, "STORAGE_UNAVAILABLE", "Try again.", retry_after_ms=1_500)
    )
    _, retry = details_of(error)
    assert isinstance(retry, RetryInfo)
    assert retry.retry_delay.ToMilliseconds() == 1_500


@pytest.mark.parametrize("call", [unary, stream])
async def test_a_bug_is_logged_and_tells_the_caller_nothing_but_where_to_look(
    call: Callable[[Serving], Awaitable[None]],
) -> None:
    """INTERNAL, with the trace id under which the log has the exception."""
    bug = ZeroDivisionError("secret of the house")
    with capture_logs() as logs:
        error = await failure_of(bug, call)
    assert error.code() is grpc.StatusCode.INTERNAL
    assert "secret" not in (error.details() or "")
    (entry,) = logs
    assert entry["exc_info"] is bug
    assert entry["trace_id"] in (error.details() or "")


async def test_the_callers_trace_id_is_kept() -> None:
    """A W3C traceparent gives the trace id, so that the caller's traces lead to the log."""
    trace_id = "0af7651916cd43dd8448eb211c80319c"
    metadata: Any = (("traceparent", f"00-{trace_id}-b7ad6b7169203331-01"),)
    async with serving(raising(ZeroDivisionError())) as it:
        with capture_logs() as logs, pytest.raises(grpc.aio.AioRpcError) as caught:
            await it.stub.Authorize(metering_service_pb2.AuthorizeRequest(), metadata=metadata, timeout=PATIENCE_S)
    assert trace_id in (caught.value.details() or "")
    assert logs[0]["trace_id"] == trace_id


@pytest.mark.parametrize("method", ["Authorize", "Report", "Meter"])
async def test_a_method_that_a_server_does_not_have_is_unimplemented(method: str) -> None:
    """As generated code has it: no mistake of the server, so nothing in its log."""
    nothing: Any = type("Nothing", (metering_service_pb2_grpc.MeteringServiceServicer,), {})()
    with capture_logs() as logs:
        server = GrpcServer(
            listen="127.0.0.1:0",
            insecure=False,
            service_names=[METERING],
            add_servicers=lambda it: metering_service_pb2_grpc.add_MeteringServiceServicer_to_server(nothing, it),
            translate=translate,
        )
        address = await server.start()
        try:
            outcome = await grpcurl(address, f"{METERING}/{method}")
        finally:
            await server.stop(0)
    assert "Code: Unimplemented" in outcome.stderr
    assert logs == []
