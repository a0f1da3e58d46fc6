"""Why the bytes of a request are not the message that they should be, for the person who sent them."""

from collections.abc import Iterator
from functools import cache
from itertools import islice
from typing import Any, Final

from google.protobuf import descriptor_pb2, descriptor_pool, message_factory
from google.protobuf.descriptor import Descriptor, FileDescriptor
from google.protobuf.message import DecodeError, Message

NOT_UTF8: Final = "is not valid UTF-8"
VALUES_SEARCHED_MAX: Final = 10_000
"""Values that are looked at for one that is not text: a search of a whole message of 4 MiB would hold up all calls."""

_Field = descriptor_pb2.FieldDescriptorProto


@cache
def as_bytes(descriptor: Descriptor) -> type[Message]:
    """The same message with bytes wherever it has strings, so that text which is not UTF-8 can be read, too."""
    pool = descriptor_pool.DescriptorPool()
    _add(pool, descriptor.file, set())
    return message_factory.GetMessageClass(pool.FindMessageTypeByName(descriptor.full_name))


def undecodable(descriptor: Descriptor, data: bytes) -> str:
    """The path of the first string that is not UTF-8, such as `report.request_id`; empty where none is found.

    Raises DecodeError where the bytes are no message of this type, whatever its strings.
    """
    message = as_bytes(descriptor).FromString(data)
    searched = islice(_texts(message, descriptor, ""), VALUES_SEARCHED_MAX)
    return next((path for path, text in searched if not _is_utf8(text)), "")


def explain(descriptor: Descriptor, data: bytes) -> tuple[str, str]:
    """What is wrong with bytes that were not read as this message: the path of a field, or nothing, and a clause."""
    try:
        path = undecodable(descriptor, data)
    except DecodeError:
        return "", f"is not a {descriptor.full_name}: its bytes are cut off or garbled"
    return (path, NOT_UTF8) if path else ("", f"has a text that {NOT_UTF8}")


def _add(pool: descriptor_pool.DescriptorPool, file: FileDescriptor, added: set[str]) -> None:
    if file.name in added:
        return
    added.add(file.name)
    for dependency in file.dependencies:
        _add(pool, dependency, added)
    proto = descriptor_pb2.FileDescriptorProto()
    file.CopyToProto(proto)
    for message in proto.message_type:
        _without_text(message)
    pool.AddSerializedFile(proto.SerializeToString())


def _without_text(message: descriptor_pb2.DescriptorProto) -> None:
    # A map has no keys of bytes; on the wire it is a list of entries.
    message.options.ClearField("map_entry")
    for field in message.field:
        if field.type == _Field.TYPE_STRING:
            field.type = _Field.TYPE_BYTES
    for nested in message.nested_type:
        _without_text(nested)


def _texts(message: Any, descriptor: Descriptor, path: str) -> Iterator[tuple[str, bytes]]:
    """Every string in the message and where it stands, in the order of fields; messages count as empty ones."""
    for field, value in message.ListFields():
        contract = descriptor.fields_by_number[field.number]
        is_text = contract.type == contract.TYPE_STRING
        if not is_text and contract.message_type is None:
            continue
        for index, one in enumerate(value if contract.is_repeated else (value,)):
            here = f"{path}{field.name}[{index}]" if contract.is_repeated else f"{path}{field.name}"
            yield here, one if is_text else b""
            if contract.message_type is not None:
                yield from _texts(one, contract.message_type, f"{here}.")


def _is_utf8(text: bytes) -> bool:
    try:
        text.decode()
    except UnicodeDecodeError:
        return False
    return True
