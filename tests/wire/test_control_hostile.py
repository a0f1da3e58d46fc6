"""Requests that nobody in their right mind would send: they are answered or refused, and nothing breaks."""

import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import grpc
from google.protobuf.descriptor import FieldDescriptor
from google.protobuf.message import Message

from tallygate.control.v1 import (
    account_service_pb2,
    catalog_service_pb2,
    lifecycle_service_pb2,
    operations_service_pb2,
)
from tests.harness.wire.control_fleet import Control, running_control

ROUNDS = 25
NUMBERS = (0, 1, -1, 2, 100, 2**31 - 1, -(2**31), 10**15, 10**18, 10**18 + 1, 2**63 - 1, -(2**63))
TEXTS = (
    "",
    "accounts/acme",
    "accounts/acme/services/default-llama",
    "accounts/acme/services/chat",
    "accounts/acme/services/chat/reservations/1",
    "accounts/acme/services/chat/reservations/999999999999999999999",
    "accounts/acme/services/default-",
    "models/llama",
    "models/fresh",
    "USD",
    "a\x00b",
    "ключ\u202e\U0001f600",
    "x" * 300,
    "'; DROP TABLE accounts; --",
    "WyJhIl0",
    "bnVsbA",
)
FILES = (account_service_pb2, catalog_service_pb2, lifecycle_service_pb2, operations_service_pb2)
ANSWERS = {
    grpc.StatusCode.OK,
    grpc.StatusCode.INVALID_ARGUMENT,
    grpc.StatusCode.NOT_FOUND,
    grpc.StatusCode.ALREADY_EXISTS,
    grpc.StatusCode.FAILED_PRECONDITION,
}


def scramble(message: Message, rng: random.Random) -> Message:
    """Fills about half of the fields with something or other."""
    for field in message.DESCRIPTOR.fields:
        if rng.random() < 0.4:
            continue
        if field.message_type is not None and field.message_type.GetOptions().map_entry:
            getattr(message, field.name)[rng.choice(TEXTS)] = rng.choice(TEXTS)
        elif field.message_type is not None:
            scramble(getattr(message, field.name), rng)
            getattr(message, field.name).SetInParent()
        elif field.is_repeated:
            getattr(message, field.name).extend(rng.sample(TEXTS, 2))
        else:
            setattr(message, field.name, scalar(field, rng))
    return message


def scalar(field: Any, rng: random.Random) -> Any:
    if field.cpp_type == FieldDescriptor.CPPTYPE_STRING:
        return rng.choice(TEXTS)
    if field.cpp_type == FieldDescriptor.CPPTYPE_BOOL:
        return rng.random() < 0.5
    if field.cpp_type == FieldDescriptor.CPPTYPE_ENUM:
        return rng.choice((0, 1, 2, 3, 99, -1))
    if field.cpp_type == FieldDescriptor.CPPTYPE_INT32:
        return rng.choice([number for number in NUMBERS if abs(number) < 2**31])
    return rng.choice(NUMBERS)


def plausible(message: Any, rng: random.Random) -> None:
    """Lets half of the requests name something that is there, so that they come further than the first check."""
    if hasattr(message, "name") and rng.random() < 0.7:
        message.name = rng.choice([text for text in TEXTS if text.startswith(("accounts/acme", "models/"))])
    if hasattr(message, "page_token") and rng.random() < 0.7:
        message.page_token = ""


async def test_nothing_that_is_sent_is_an_internal_error(tmp_path: Path) -> None:
    """Every call of the four services for people, with fields of every extreme: a documented status, every time."""
    rng = random.Random(20_260_101)
    async with running_control(tmp_path) as control:
        await control.stock()
        await control.create_service("accounts/acme/services/chat")
        seen: set[grpc.StatusCode] = set()
        for _ in range(ROUNDS):
            for method, request_type in calls(control):
                request = scramble(request_type(), rng)
                plausible(request, rng)
                status = await status_of(method, request)
                assert status in ANSWERS, (status, request)
                seen.add(status)
    assert {grpc.StatusCode.OK, grpc.StatusCode.NOT_FOUND, grpc.StatusCode.FAILED_PRECONDITION} <= seen


def calls(control: Control) -> list[tuple[Callable[..., Any], Callable[[], Any]]]:
    stubs = (control.accounts, control.catalogue, control.lifecycle, control.operations)
    return [
        (getattr(stub, method.name), getattr(file, method.input_type.name))
        for stub, file in zip(stubs, FILES, strict=True)
        for service in file.DESCRIPTOR.services_by_name.values()
        for method in service.methods
    ]


async def status_of(method: Callable[..., Any], request: Message) -> grpc.StatusCode:
    try:
        await method(request)
    except grpc.aio.AioRpcError as error:
        return error.code()
    return grpc.StatusCode.OK
