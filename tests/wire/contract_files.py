"""The contract as its descriptors have it: every file, message, enum and method of both packages."""

import importlib
import pkgutil
from collections.abc import Iterable, Iterator

from google.protobuf.descriptor import Descriptor, EnumDescriptor, FileDescriptor, MethodDescriptor

from tallygate.control import v1 as control
from tallygate.metering import v1 as metering


def contract_files() -> list[FileDescriptor]:
    """The descriptor of every proto file of the contract."""
    return [
        importlib.import_module(f"{package.__name__}.{module.name}").DESCRIPTOR
        for package in (control, metering)
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
