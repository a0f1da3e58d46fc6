"""Texts and lists far too long, and answers that would be: what comes back fits into a message, and into trailers."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import grpc
import pytest
from google.protobuf.descriptor import Descriptor, FieldDescriptor

from tallygate.control.v1 import catalog_service_pb2, lifecycle_service_pb2
from tallygate.control.v1 import fleet_service_pb2 as fleet
from tests.harness.metering.node_harness import Fleet
from tests.harness.patience import PATIENCE_S
from tests.harness.wire.control_fleet import running_control, wire_node
from tests.harness.wire.metering_node import serving_node
from tests.harness.wire.methods import METHODS_OF_CONTROL, UNARY_OF_METERING

LONG = 1_000_000
TEXTS = ("x" * LONG, "ü" * (LONG // 2), "\n" * LONG)
ANSWERS = {
    grpc.StatusCode.OK,
    grpc.StatusCode.INVALID_ARGUMENT,
    grpc.StatusCode.NOT_FOUND,
    grpc.StatusCode.FAILED_PRECONDITION,
}


def varint(number: int) -> bytes:
    rest, low = divmod(number, 128)
    return bytes([low | 128]) + varint(rest) if rest else bytes([low])


def delimited(number: int, data: bytes) -> bytes:
    return varint(number << 3 | 2) + varint(len(data)) + data


def with_texts(message: Descriptor, text: bytes, depth: int = 0) -> Iterator[tuple[str, bytes]]:
    """For each text in a message, also in messages within it: its path, and a message of nothing but that."""
    for field in message.fields:
        if field.type == FieldDescriptor.TYPE_STRING:
            yield field.name, delimited(field.number, text)
        elif field.message_type is not None and depth < 3:
            for path, data in with_texts(field.message_type, text, depth + 1):
                yield f"{field.name}.{path}", delimited(field.number, data)


async def outcome(channel: grpc.aio.Channel, method: Any, data: bytes) -> grpc.aio.AioRpcError | None:
    name = f"/{method.containing_service.full_name}/{method.name}"
    try:
        if method.client_streaming:
            stream: Any = channel.stream_stream(name)(timeout=PATIENCE_S)
            await stream.write(data)
            await stream.done_writing()
            await stream.read()
        else:
            call: Any = channel.unary_unary(name)
            await call(data, timeout=PATIENCE_S)
    except grpc.aio.AioRpcError as error:
        return error
    return None


async def check(channel: grpc.aio.Channel, methods: list[Any]) -> int:
    """Each text of each method, far too long: answered, or refused so that the caller hears why; how many it were."""
    tried = 0
    for method in methods:
        for text in TEXTS:
            for path, data in with_texts(method.input_type, text.encode()):
                error = await outcome(channel, method, data)
                tried += 1
                if error is not None:
                    assert error.code() in ANSWERS, (method.full_name, path, error.code(), error.details())
                    assert len(error.details() or "") < 4_000, (method.full_name, path)
    return tried


async def test_texts_that_are_far_too_long_are_refused_in_a_few_words(tmp_path: Path) -> None:
    """By control, whatever the field: what it says of them fits into trailers."""
    async with running_control(tmp_path) as control:
        await control.stock()
        assert await check(control.channel, METHODS_OF_CONTROL) > 150


async def test_a_node_refuses_them_too() -> None:
    """In its unary calls."""
    async with serving_node(Fleet()["a"]) as it:
        assert await check(it.channel, UNARY_OF_METERING) > 30


EMOJI = "\U0001f600"
"""Four bytes: bounds of texts are in characters."""


async def test_pages_of_very_large_models_fit_into_messages(tmp_path: Path) -> None:
    """A page has fewer of them than were asked for, and its token leads on to all."""
    async with running_control(tmp_path) as control:
        for number in range(45):
            aliases = [f"{number:03}-{alias:03}-" + EMOJI * 248 for alias in range(100)]
            model = catalog_service_pb2.CreateModelRequest(name=f"models/m{number:03}", aliases=aliases)
            await control.catalogue.CreateModel(model)
        request, names, pages = catalog_service_pb2.ListModelsRequest(page_size=1_000), [], 0
        while pages == 0 or request.page_token:
            page = await control.catalogue.ListModels(request)
            names += [model.name for model in page.models]
            request.page_token, pages = page.next_page_token, pages + 1
        assert names == [f"models/m{number:03}" for number in range(45)]
        assert pages > 4


async def test_pages_of_services_with_all_labels_fit_into_messages(tmp_path: Path) -> None:
    """Likewise, with the default services at their end."""
    async with running_control(tmp_path) as control:
        await control.stock()
        labels = {f"{key:02}" + EMOJI * 61: EMOJI * 256 for key in range(16)}
        expected = [f"accounts/acme/services/a{number:03}" for number in range(240)]
        for name in expected:
            await control.lifecycle.CreateInferenceService(
                lifecycle_service_pb2.CreateInferenceServiceRequest(name=name, model="models/llama", labels=labels)
            )
        request = lifecycle_service_pb2.ListInferenceServicesRequest(account="accounts/acme", page_size=1_000)
        names, pages = [], 0
        while pages == 0 or request.page_token:
            page = await control.lifecycle.ListInferenceServices(request)
            names += [service.name for service in page.inference_services]
            request.page_token, pages = page.next_page_token, pages + 1
        assert names == [*expected, "accounts/acme/services/default-llama"]
        assert pages > 4


async def test_a_node_that_follows_names_that_no_service_can_have_is_refused(tmp_path: Path) -> None:
    """They would be echoed; names as long as may be are answered, a thousand at once."""
    names = [f"{number:04}" + EMOJI * 63 for number in range(1_000)]
    async with running_control(tmp_path) as control, wire_node(control) as node:
        await node.subscribe(*names)
        assert set(names) <= set(node.services)
        await node.say(fleet.WatchConfigRequest(subscription=fleet.ConfigSubscription(subscribe=["x" * 257])))
        assert await node.end() is grpc.StatusCode.INVALID_ARGUMENT


async def test_an_exchange_of_too_many_statements_is_refused(tmp_path: Path) -> None:
    """Its answer would not fit into a message."""
    async with running_control(tmp_path) as control, wire_node(control) as node:
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await node.exchange(*[fleet.LeaseStatement(lease_id=f"{number}") for number in range(10_001)])
        assert caught.value.code() is grpc.StatusCode.INVALID_ARGUMENT
        assert "statements: must not be more than 10,000" in (caught.value.details() or "")
