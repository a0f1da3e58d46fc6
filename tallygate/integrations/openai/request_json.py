"""A request's body, read so that every server behind reads the same, or refused.

Readers of JSON differ: of two values of one key some take the first; some take `"YES"` for true, 5.0 for 5, or NaN for
a number. What servers may read differently is refused here, or written again in the one way in which all read it.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Any, NoReturn

_TRUE = frozenset({"true", "t", "yes", "y", "on", "1"})
_FALSE = frozenset({"false", "f", "no", "n", "off", "0"})
"""Words that pydantic, by which vLLM and SGLang read, takes for true and false, in upper and lower case."""
_WHOLE = re.compile(r"\s*([+-]?[0-9]{1,30})(?:\.0+)?\s*")
_KEY_SHOWN = 64


class BadRequestError(Exception):
    """The request is none that can be metered, and so none that may run.

    Attributes:
        message: Why not, as a sentence.
        param: The field that is wrong, if it is one.
    """

    def __init__(self, message: str, param: str | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.param = param


def parse_body(raw: bytes) -> dict[str, Any]:
    """Parses a body in UTF-8.

    Raises:
        BadRequestError: It is no JSON object, has a key twice, or numbers that are none.
    """
    try:
        content = _DECODER.decode(raw.decode())
    except (ValueError, RecursionError):
        raise BadRequestError("The request's body is not JSON in UTF-8.") from None
    if not isinstance(content, dict):
        raise BadRequestError("The request's body is not a JSON object.")
    return content


def write_body(content: Mapping[str, Any]) -> bytes:
    """The same request written again, with all values as they were.

    Raises:
        BadRequestError: A number is too large for any reader.
    """
    try:
        return _ENCODER.encode(content).encode()
    except (ValueError, RecursionError):
        raise BadRequestError("The request's body has a number that is too large.") from None


def changed_body(raw: bytes, content: Mapping[str, Any], changes: Mapping[str, Any]) -> bytes:
    """The body with some of its fields changed or added; the client's own bytes as far as that is possible."""
    if not changes:
        return raw
    if content and changes.keys().isdisjoint(content) and (end := raw.rstrip(b" \t\r\n")).endswith(b"}"):
        # Cheaper than writing a long prompt again.
        return end[:-1] + b"," + write_body(changes)[1:]
    return write_body({**content, **changes})


def read_truth(content: Mapping[str, Any], name: str) -> bool:
    """A field that is true or false, as pydantic reads it; false where it is missing or null.

    Raises:
        BadRequestError: It is something else, which one reader takes for true and another one for false.
    """
    value = content.get(name)
    if value is None or isinstance(value, bool):
        return bool(value)
    if isinstance(value, int | float) and value in {0, 1}:
        return value == 1
    if isinstance(value, str) and value.lower() in _TRUE | _FALSE:
        return value.lower() in _TRUE
    raise BadRequestError(f"`{name}` is neither true nor false.", name)


def read_count(content: Mapping[str, Any], name: str) -> int | None:
    """A field that is a whole number, as pydantic reads it, be it negative; None where it is missing or null.

    Raises:
        BadRequestError: It is no whole number.
    """
    value = content.get(name)
    if value is None or (isinstance(value, int) and not isinstance(value, bool)):
        return value
    if isinstance(value, bool):
        return int(value)
    if isinstance(value, float) and value.is_integer():
        return int(value)
    if isinstance(value, str) and (match := _WHOLE.fullmatch(value)):
        return int(match[1])
    raise BadRequestError(f"`{name}` is not a whole number.", name)


def refuse_lookalikes(content: Mapping[str, Any], names: frozenset[str]) -> None:
    """Refuses keys that differ from these only in case or by brackets: some readers take them for the same.

    Raises:
        BadRequestError: There is one.
    """
    for key in content.keys() - names:
        known = key.partition("[")[0].casefold()
        if known in names:
            raise BadRequestError(f"The field {_shown(key)} has to be written `{known}`.", known)


def _object_with_keys_once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) == len(pairs):
        return found
    seen: set[str] = set()
    for key, _ in pairs:
        if key in seen:
            raise BadRequestError(f"The request's body has the key {_shown(key)} twice: say it once.", key[:_KEY_SHOWN])
        seen.add(key)
    return found


def _refuse_constant(name: str) -> NoReturn:
    raise BadRequestError(f"The request's body has {name}, which is no number of JSON.")


def _shown(key: str) -> str:
    return ascii(key[:_KEY_SHOWN])


# Once: to make one costs as much as to read a short body.
_DECODER = json.JSONDecoder(object_pairs_hook=_object_with_keys_once, parse_constant=_refuse_constant)
_ENCODER = json.JSONEncoder(separators=(",", ":"), allow_nan=False)
