"""The contract as its descriptors have it: every file, message, enum and method of all packages."""

import importlib
import pkgutil
from collections.abc import Iterable, Iterator
from typing import Any

from google.api import field_behavior_pb2, resource_pb2
from google.protobuf.descriptor import Descriptor, EnumDescriptor, FieldDescriptor, FileDescriptor, MethodDescriptor

from tallygate.access import v1 as access
from tallygate.control import v1 as control
from tallygate.metering import v1 as metering


def contract_files() -> list[FileDescriptor]:
    """The descriptor of every proto file of the contract."""
    return [
        importlib.import_module(f"{package.__name__}.{module.name}").DESCRIPTOR
        for package in (access, control, metering)
        for module in pkgutil.iter_modules(package.__path__)
        if module.name.endswith("_pb2")
    ]


def messages() -> Iterator[Descriptor]:
    """Every message that a proto file of the contract writes down; the entries of maps are not."""
    for file in contract_files():
        yield from file.message_types_by_name.values()


def enums() -> Iterator[EnumDescriptor]:
    """Every enum."""
    for file in contract_files():
        yield from file.enum_types_by_name.values()


def methods() -> Iterator[MethodDescriptor]:
    """Every RPC."""
    for file in contract_files():
        for service in file.services_by_name.values():
            yield from service.methods


def reachable(roots: Iterable[Descriptor]) -> list[Descriptor]:
    """The contract's messages that these are made of, themselves included, in the order of their names."""
    ours = {message.full_name for message in messages()}
    found: dict[str, Descriptor] = {}
    waiting = list(roots)
    while waiting:
        message = waiting.pop()
        if message.full_name in ours and message.full_name not in found:
            found[message.full_name] = message
            waiting.extend(field.message_type for field in message.fields if field.message_type is not None)
    return [found[name] for name in sorted(found)]


def behaviour(field: FieldDescriptor) -> str:
    """The field's behaviour by google.api, such as `REQUIRED`; empty where it has none."""
    said = _options(field)[field_behavior_pb2.field_behavior]
    return "+".join(field_behavior_pb2.FieldBehavior.Name(number) for number in said)


def patterns_of(message: Descriptor) -> list[str]:
    """The patterns of the resource's names, such as `accounts/{account}`; none where it is no resource."""
    return list(_options(message)[resource_pb2.resource].pattern)


def resource_type(message: Descriptor) -> str:
    """The resource's type, such as `tallygate/Account`; empty where it is no resource."""
    return str(_options(message)[resource_pb2.resource].type)


def reference(field: FieldDescriptor) -> str:
    """The type of the resource that the field names; empty where it names none, `*` where it may be of any type."""
    return str(_options(field)[resource_pb2.resource_reference].type)


def _options(described: Descriptor | FieldDescriptor) -> Any:
    """Its extensions; google.api's own types do not say what they extend."""
    return described.GetOptions().Extensions
