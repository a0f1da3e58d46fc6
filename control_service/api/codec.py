"""What all messages share: time, enums, nested values."""

from collections.abc import Iterable
from enum import StrEnum
from typing import Any, TypeVar

from google.protobuf.duration_pb2 import Duration
from google.protobuf.timestamp_pb2 import Timestamp

from control_service.api.fields import EnumNames, prefix_of

Member = TypeVar("Member", bound=StrEnum)

_US = 1_000_000


def timestamp(at_us: int | None) -> Timestamp | None:
    """A moment; None is absent."""
    return None if at_us is None else Timestamp(seconds=at_us // _US, nanos=at_us % _US * 1_000)


def duration(length_us: int | None) -> Duration | None:
    """A length of time, not negative; None is absent."""
    return None if length_us is None else Duration(seconds=length_us // _US, nanos=length_us % _US * 1_000)


def enum_value(names: EnumNames, member: StrEnum) -> Any:
    """A value of the domain as that of the contract that has its name."""
    return names.Value(prefix_of(names) + member.value)


def enum_values(names: EnumNames, kind: type[Member], members: Iterable[Member]) -> list[Any]:
    """A set of values as a list, in the order of their definition."""
    chosen = frozenset(members)
    return [enum_value(names, member) for member in kind if member in chosen]
