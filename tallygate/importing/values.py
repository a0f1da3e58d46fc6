"""Values in rows of other systems' tables: as a database gives them, and as exports in CSV or JSON write them."""

from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import UTC, datetime
from decimal import Decimal, InvalidOperation
from typing import Any, Final

Row = Mapping[str, Any]

_NOTHING: Final = {"", "{}", "[]", "null", "f", "false", "0"}


class UnreadableValueError(ValueError):
    """A cell has a value that its column cannot have."""

    def __init__(self, column: str, wanted: str) -> None:
        """The value itself is not repeated: it may be a secret."""
        super().__init__(f"{column} is not {wanted}")


def text(row: Row, column: str) -> str:
    """A text; empty where there is none."""
    value = row.get(column)
    return "" if value is None else str(value).strip()


def whole(row: Row, column: str) -> int | None:
    """A whole number, if there is one."""
    said = text(row, column)
    if not said:
        return None
    number = decimal(row, column)
    if number is None or number != number.to_integral_value():
        raise UnreadableValueError(column, "a whole number")
    return int(number)


def decimal(row: Row, column: str) -> Decimal | None:
    """A number, exactly as it is written, if there is one."""
    said = text(row, column)
    if not said:
        return None
    try:
        number = Decimal(said)
    except InvalidOperation:
        raise UnreadableValueError(column, "a number") from None
    if not number.is_finite():
        raise UnreadableValueError(column, "a number")
    return number


def truth(row: Row, column: str) -> bool:
    """Whether it is so; not where nothing is said."""
    said = text(row, column).lower()
    if said not in {"", "t", "true", "1", "f", "false", "0"}:
        raise UnreadableValueError(column, "true or false")
    return said in {"t", "true", "1"}


def moment_s(row: Row, column: str) -> int:
    """A moment in seconds since 1970, of UTC where no zone is said; 0 for none."""
    value = row.get(column)
    if value is None or value == "":
        return 0
    try:
        moment = value if isinstance(value, datetime) else datetime.fromisoformat(str(value))
    except ValueError:
        raise UnreadableValueError(column, "a moment") from None
    # One of 1970, or before, is none that is not there.
    return max(1, int((moment if moment.tzinfo is not None else moment.replace(tzinfo=UTC)).timestamp()))


def texts(row: Row, column: str) -> list[str]:
    """A list of texts: a list, JSON, or an array as PostgreSQL writes it."""
    value = row.get(column)
    if isinstance(value, str) and value.startswith("{"):
        return _array(value[1:-1])
    if isinstance(value, str) and value:
        try:
            value = json.loads(value)
        except ValueError:
            raise UnreadableValueError(column, "a list") from None
    return [str(item) for item in value] if isinstance(value, list) else []


def members(row: Row, column: str) -> Row:
    """The members of an object, of JSON or as a database gives it; none where there is no object."""
    value = row.get(column)
    if isinstance(value, str) and value.strip():
        try:
            value = json.loads(value, parse_float=str)
        except ValueError:
            raise UnreadableValueError(column, "an object") from None
    if value is None or value == "":
        return {}
    if not isinstance(value, Mapping):
        raise UnreadableValueError(column, "an object")
    return value


def has_content(row: Row, column: str) -> bool:
    """Whether anything is said there: no empty text, list or object, and not false."""
    value = row.get(column)
    return value.strip() not in _NOTHING if isinstance(value, str) else bool(value)


def _array(inner: str) -> list[str]:
    """Items of PostgreSQL's text of an array: with commas between, quoted where they have signs in them."""
    items: list[str] = []
    rest = inner
    while rest:
        if rest.startswith('"'):
            end = 1
            while end < len(rest) and rest[end] != '"':
                end += 2 if rest[end] == "\\" else 1
            items.append(rest[1:end].replace('\\"', '"').replace("\\\\", "\\"))
            rest = rest[end + 1 :].removeprefix(",")
        else:
            item, _, rest = rest.partition(",")
            items.append(item)
    return items
