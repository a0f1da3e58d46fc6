"""Enums on the wire, whose names begin with the enum's own name, such as `SERVICE_STATUS_RUNNING`."""

from collections.abc import Iterable
from enum import Enum
from functools import cache, lru_cache
from typing import Any, Protocol, TypeVar

Member = TypeVar("Member", bound=Enum)


class EnumNames(Protocol):
    """An enum of the contract."""

    def __hash__(self) -> int:
        """Of this one alone: it is a key of what was looked up."""

    def Name(self, number: Any) -> str:
        """The value's name. Raises ValueError."""

    def Value(self, name: str) -> Any:
        """The value's number. Raises ValueError."""


@lru_cache(maxsize=None, typed=True)  # members of two enums may be equal, as texts are
def encode_enum(names: EnumNames, member: Enum) -> Any:
    """The value of the contract that has the member's name."""
    return names.Value(_prefix_of(names) + member.name)


def encode_enums(names: EnumNames, kind: type[Member], members: Iterable[Member]) -> list[Any]:
    """A set of members as a list of values, in the order of their definition."""
    chosen = frozenset(members)
    return [encode_enum(names, member) for member in _all_of(kind) if member in chosen] if chosen else []


def encode_table(names: EnumNames, kind: type[Member]) -> dict[Member, Any]:
    """The value for each member, for code that encodes many of them."""
    return {member: encode_enum(names, member) for member in kind}


def decode_table(names: EnumNames, kind: type[Member]) -> dict[Any, Member]:
    """The member for each value that has one."""
    return {value: member for member, value in encode_table(names, kind).items()}


def decode_enum(names: EnumNames, kind: type[Member], number: int) -> Member:
    """The member that has the value's name. Raises ValueError where there is none."""
    name = decode_enum_name(names, number)
    if name not in kind.__members__:
        raise ValueError(name)
    return kind[name]


def decode_enum_name(names: EnumNames, number: int) -> str:
    """The value's name without what all names of the enum begin with. Raises ValueError for a value that is unknown."""
    return names.Name(number).removeprefix(_prefix_of(names))


@cache
def _all_of(kind: type[Member]) -> tuple[Member, ...]:
    return tuple(kind)


def _prefix_of(names: EnumNames) -> str:
    return names.Name(0).removesuffix("UNSPECIFIED")
