"""Kinds of columns, and what all tables of the control database have in common."""

from collections.abc import Iterable
from typing import Any, Final

from sqlalchemy import BigInteger, Boolean, Column, MetaData, Text
from sqlalchemy import text as sql_text
from sqlalchemy.types import TypeEngine

BY_CODE_POINT: Final[TypeEngine[str]] = Text().with_variant(Text(collation="C"), "postgresql")

metadata = MetaData(
    naming_convention={
        "pk": "pk_%(table_name)s",
        "uq": "uq_%(table_name)s_%(column_0_N_name)s",
        "ix": "ix_%(table_name)s_%(column_0_N_name)s",
        "ck": "ck_%(table_name)s_%(constraint_name)s",
    }
)


def key(name: str) -> Column[Any]:
    """A text that is part of the primary key."""
    return Column(name, BY_CODE_POINT, primary_key=True)


def number_key(name: str) -> Column[Any]:
    """A number that is part of the primary key."""
    return Column(name, BigInteger, primary_key=True, autoincrement=False)


def text(name: str, *, nullable: bool = False) -> Column[Any]:
    """A text."""
    return Column(name, BY_CODE_POINT, nullable=nullable)


def number(name: str, *, nullable: bool = False) -> Column[Any]:
    """A whole number."""
    return Column(name, BigInteger, nullable=nullable)


def flag(name: str) -> Column[Any]:
    """Yes or no."""
    return Column(name, Boolean, nullable=False)


def pack_numbers(numbers: Iterable[int]) -> str:
    """Some numbers as one text."""
    return ",".join(map(str, numbers))


def unpack_numbers(packed: str) -> tuple[int, ...]:
    """The numbers in a text of `pack_numbers`."""
    return tuple(int(one) for one in packed.split(",") if one)


def where(condition: str) -> dict[str, Any]:
    """The condition of a partial index, for either database."""
    return {"sqlite_where": sql_text(condition), "postgresql_where": sql_text(condition)}
