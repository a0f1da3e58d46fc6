"""Bytes that are not the request that they should be, sent to every RPC of both services."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import grpc
import pytest
from google.protobuf.descriptor import Descriptor, FieldDescriptor, MethodDescriptor
from google.rpc.error_details_pb2 import BadRequest, ErrorInfo
from grpc_status import rpc_status
from structlog.testing import capture_logs

from tallygate.control.v1 import fleet_service_pb2
from tests.harness.metering.node_harness import Fleet
from tests.harness.patience import PATIENCE_S
from tests.harness.wire.control_fleet import running_control
from tests.harness.wire.metering_node import serving_node
from tests.harness.wire.methods import METHODS_OF_CONTROL, UNARY_OF_METERING

GARBAGE = (b"\xff", b"\x0a\x05abc", b"\x0a", b"\x0b")


def bad_texts(message: Descriptor, depth: int = 0) -> Iterator[tuple[str, bytes]]:
    """For each text in a message, also in messages within it: its path, and bytes in which it is not UTF-8."""
    for field in message.fields:
        index = "[0]" if field.is_repeated else ""
        if field.type == FieldDescriptor.TYPE_STRING:
            yield f"{field.name}{index}", delimited(field.number, b"d\xfff")
        elif field.message_type is not None and depth < 3:
            for path, data in bad_texts(field.message_type, depth + 1):
                yield f"{field.name}{index}.{path}", delimited(field.number, data)


def delimited(number: int, data: bytes) -> bytes:
    """A field of so few bytes that each length is one of them."""
    assert len(data) < 128
    tag = number << 3 | 2
    return bytes([tag | 128, tag >> 7] if tag > 127 else [tag]) + bytes([len(data)]) + data


async def refusal(channel: grpc.aio.Channel, method: MethodDescriptor, data: bytes) -> tuple[str, list[str]]:
    """The sentence and the fields with which a call with these bytes is refused."""
    name = f"/{method.containing_service.full_name}/{method.name}"
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        if method.client_streaming:
            stream: Any = channel.stream_stream(name)(timeout=PATIENCE_S)
            await stream.write(data)
            await stream.read()
        else:
            call: Any = channel.unary_unary(name)
            await call(data, timeout=PATIENCE_S)
    error = caught.value
    assert error.code() is grpc.StatusCode.INVALID_ARGUMENT, (name, error.code(), error.details())
    info, request = ErrorInfo(), BadRequest()
    first, *rest = rpc_status.from_call(error).details
    assert first.Unpack(info)
    assert info.reason == "INVALID_REQUEST"
    for detail in rest:
        assert detail.Unpack(request)
    return error.details() or "", [violation.field for violation in request.field_violations]


async def check(channel: grpc.aio.Channel, methods: list[MethodDescriptor]) -> int:
    """Every way of garbling every method; how many texts were tried."""
    tried = 0
    for method in methods:
        for garbage in GARBAGE:
            sentence = f"This message is not a {method.input_type.full_name}: its bytes are cut off or garbled."
            assert await refusal(channel, method, garbage) == (sentence, [])
        for path, data in bad_texts(method.input_type):
            assert await refusal(channel, method, data) == (f"{path} is not valid UTF-8.", [path])
            tried += 1
    return tried


async def test_control_refuses_what_it_cannot_read(tmp_path: Path) -> None:
    """INVALID_ARGUMENT and one sentence, which names the field where there is one; not a word in the log."""
    with capture_logs() as logs:
        async with running_control(tmp_path) as control:
            assert await check(control.channel, METHODS_OF_CONTROL) > 50
    assert [entry for entry in logs if entry["log_level"] != "info"] == []


async def test_a_node_refuses_what_it_cannot_read(caplog: pytest.LogCaptureFixture) -> None:
    """As control does; grpc, which would log a traceback for each, never sees that anything failed."""
    with capture_logs() as logs:
        async with serving_node(Fleet()["a"]) as it:
            assert await check(it.channel, UNARY_OF_METERING) > 10
    assert (logs, caplog.records) == ([], [])


async def test_a_node_that_says_something_garbled_amid_its_stream_is_told(tmp_path: Path) -> None:
    """Also after its hello: the stream ends with INVALID_ARGUMENT, and the log has no traceback."""
    hello = fleet_service_pb2.NodeHello(node="node-a", epoch=1, metering_database_id="m")
    with capture_logs() as logs:
        async with running_control(tmp_path) as control:
            call: Any = control.channel.stream_stream("/tallygate.control.v1.FleetService/WatchConfig")
            stream = call(timeout=PATIENCE_S)
            await stream.write(fleet_service_pb2.WatchConfigRequest(hello=hello).SerializeToString())
            await stream.read()
            await stream.write(b"\xff")
            with pytest.raises(grpc.aio.AioRpcError) as caught:
                while await stream.read() is not grpc.aio.EOF:
                    pass
    assert caught.value.code() is grpc.StatusCode.INVALID_ARGUMENT
    assert "cut off or garbled" in (caught.value.details() or "")
    assert [entry for entry in logs if entry["log_level"] != "info"] == []
