"""Forms that browsers send: bounded, and read field by field into what the contract wants."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from http import HTTPStatus
from typing import Any, Final
from urllib.parse import parse_qsl

from google.protobuf.duration_pb2 import Duration
from google.protobuf.timestamp_pb2 import Timestamp
from starlette.exceptions import HTTPException
from starlette.requests import Request

from tallygate._wire.amounts import NANOS

FORM_BYTES_MAX: Final = 64 * 1024
"""Maximum size of a form."""
FIELDS_MAX: Final = 200
"""Maximum number of its fields."""
_TYPE: Final = "application/x-www-form-urlencoded"
_NUMBER: Final = re.compile(r"[+-]?\d{1,19}")
_SET_OFF: Final = re.compile(r"[+-]?[1-9]\d{0,2}(?:([,_ \u202f\u00a0])\d{3})(?:\1\d{3})*(?:\.\d*)?")
"""Digits whose thousands are set off; `1,5` is none of these: who types it may well mean one and a half."""
_SEPARATORS: Final = re.compile(r"[,_ \u202f\u00a0]")
_AMOUNT: Final = re.compile(r"([+-]?)(\d{1,10})(?:\.(\d{1,9}))?")
_INT64_MAX: Final = 2**63 - 1
_INT32_MAX: Final = 2**31 - 1
_LENGTH_S_MAX: Final = 10**10
_UNITS_S: Final = {"d": 86_400, "h": 3_600, "m": 60, "s": 1}
_DECIMALS: Final = 9


class FieldError(Exception):
    """What was typed into a field cannot be sent; the message is a sentence for whoever typed it."""

    def __init__(self, field: str, sentence: str) -> None:
        super().__init__(sentence)
        self.field = field
        self.sentence = sentence


class Form:
    """What a browser sent, as it was typed. A field is called as the contract calls it, with dots in it."""

    def __init__(self, fields: Mapping[str, list[str]] | None = None) -> None:
        self._fields = fields or {}

    def __bool__(self) -> bool:
        return bool(self._fields)

    def text(self, name: str, default: str = "") -> str:
        """What was typed, without spaces around it."""
        return self._fields.get(name, [default])[-1].strip()

    def texts(self, name: str) -> list[str]:
        """All that was chosen of several."""
        return [text.strip() for text in self._fields.get(name, []) if text.strip()]

    def lines(self, name: str) -> list[str]:
        """What was typed, a line each; empty ones are left out."""
        return [line.strip() for line in self.text(name).splitlines() if line.strip()]

    def changed(self, name: str) -> bool:
        """Whether a field has another text than the page had, which the form says in `was.NAME`."""
        return self._all_lines(name) != self._all_lines(f"was.{name}")

    def _all_lines(self, name: str) -> list[str]:
        return [line.strip() for text in self.texts(name) for line in text.splitlines() if line.strip()]

    def chosen(self, name: str, kind: Any) -> Any:
        """The value of an enum of the contract whose name was chosen; 0 for what it does not have."""
        first = kind.DESCRIPTOR.values_by_number[0].name
        known = kind.DESCRIPTOR.values_by_name.get(first.removesuffix("UNSPECIFIED") + self.text(name))
        return known.number if known else 0

    def time(self, name: str) -> Timestamp | None:
        """A moment in UTC; None where nothing was typed. Raises FieldError."""
        return time_of(name, self.text(name))

    def kept(self) -> Iterator[tuple[str, list[str]]]:
        """All that was sent, to be sent again."""
        yield from self._fields.items()

    def has(self, name: str) -> bool:
        """Whether a box was ticked."""
        return bool(self.text(name))

    def number(self, name: str, default: int = 0) -> int:
        """A whole number, whose thousands may be set off; the default where nothing was typed. Raises FieldError."""
        typed = self.text(name)
        if not typed:
            return default
        plain = _joined(typed)
        if not _NUMBER.fullmatch(plain) or abs(int(plain)) > _INT64_MAX:
            raise FieldError(name, f"{typed!r} is no whole number; write digits, such as 10000.")
        return int(plain)

    def numbers(self, name: str) -> list[int]:
        """Small whole numbers, set off by commas or spaces. Raises FieldError."""
        found = [one for one in re.split(r"[\s,;]+", self.text(name)) if one]
        for one in found:
            if not _NUMBER.fullmatch(one) or abs(int(one)) > _INT32_MAX:
                raise FieldError(name, f"{one!r} is no such number; write whole numbers, such as 80, 100.")
        return [int(one) for one in found]

    def length(self, name: str, unit_s: int = 1) -> Duration | None:
        """A length of time in whole units of so many seconds, or in the one that is typed behind it, such as 36h.

        None where nothing was typed. Raises FieldError.
        """
        typed = self.text(name)
        if not typed:
            return None
        if unit := _UNITS_S.get(typed[-1]):
            typed, unit_s = typed[:-1].strip(), unit
        count = _joined(typed)
        if not _NUMBER.fullmatch(count):
            raise FieldError(name, f"{self.text(name)!r} is no length of time; write it as 90d, 12h, 15m or 30s.")
        if not 0 <= int(count) * unit_s <= _LENGTH_S_MAX:
            raise FieldError(name, f"{self.text(name)!r} is too long, or less than nothing.")
        return Duration(seconds=int(count) * unit_s)

    def nanos(self, name: str) -> int | None:
        """An amount of money in nanos, exact; None where nothing was typed. Raises FieldError."""
        return nanos_of(name, self.text(name)) if self.text(name) else None


def time_of(field: str, typed: str) -> Timestamp | None:
    """A moment in UTC; None where nothing was typed. Raises FieldError."""
    if not typed:
        return None
    made = Timestamp()
    try:
        when = datetime.fromisoformat(typed)
        made.FromDatetime(when if when.tzinfo else when.replace(tzinfo=UTC))
    except (ValueError, OverflowError):
        raise FieldError(field, f"{typed!r} is no time; write date and time, such as 2030-01-31T12:00.") from None
    return made


def nanos_of(field: str, typed: str) -> int:
    """An amount of money in nanos, exact. Raises FieldError."""
    match = _AMOUNT.fullmatch(_joined(typed))
    nanos = int(match[2]) * NANOS + int((match[3] or "").ljust(_DECIMALS, "0")) if match else _INT64_MAX + 1
    if match is None or nanos > _INT64_MAX:
        raise FieldError(field, f"{typed!r} is no amount; write units with at most 9 decimals, such as 12.50.")
    return -nanos if match[1] == "-" else nanos


def _joined(typed: str) -> str:
    """Digits without what sets off their thousands; any other text as it is."""
    return _SEPARATORS.sub("", typed) if _SET_OFF.fullmatch(typed) else typed


async def read_form(request: Request) -> Form:
    """The form that a request brings. Raises HTTPException where it is none, or too big."""
    if request.headers.get("content-type", "").partition(";")[0].strip().lower() != _TYPE:
        raise HTTPException(HTTPStatus.UNSUPPORTED_MEDIA_TYPE, "A change is sent as a form.")
    body = bytearray()
    async for chunk in request.stream():
        body += chunk
        if len(body) > FORM_BYTES_MAX:
            raise HTTPException(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, "The form is too big; write less into it.")
    fields: dict[str, list[str]] = {}
    try:
        for name, value in parse_qsl(body.decode(), keep_blank_values=True, max_num_fields=FIELDS_MAX, errors="strict"):
            fields.setdefault(name, []).append(value)
    except ValueError as error:
        raise HTTPException(HTTPStatus.BAD_REQUEST, "The form cannot be read.") from error
    return Form(fields)
