"""Readers of a stream's events: they take what metering needs from the JSON of each.

Where msgspec is installed, which vLLM and SGLang bring along, only that is decoded, and the rest of an event is checked
and skipped: many times faster. Whatever is unusual about an event, the standard library parses it, as it parses all of
them where there is no msgspec. Both read the same from any event.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping
from typing import Any, TypeVar

from tallygate.integrations.openai.event_types import Choice, Chunk, Event, Logprobs

try:
    from tallygate.integrations.openai import _msgspec
except ImportError:
    _msgspec = None  # type: ignore[assignment]

_T = TypeVar("_T")
_ERROR_EVENT = re.compile(rb"event: ?error[\r\n]")


class NotAnObjectError(ValueError):
    """It is JSON, but no object."""


def plain_chunk(data: bytes) -> Chunk:
    """Parses a chunk with the standard library.

    Raises:
        NotAnObjectError: It is none.
        ValueError: It is no JSON.
        RecursionError: It is nested too deeply.
    """
    said = _object(data)
    choices = said.get("choices")
    return Chunk(
        [_choice(choice) for choice in choices] if isinstance(choices, list) else None,
        said.get("usage"),
        said.get("error"),
    )


def plain_event(data: bytes) -> Event:
    """Parses an event of the responses API with the standard library. Raises as `plain_chunk`."""
    said = _object(data)
    return Event(
        said.get("type"),
        said.get("sequence_number"),
        said.get("output_index", 0),
        said.get("delta"),
        said.get("item"),
        said.get("response"),
    )


def whole_chunk(data: bytes) -> dict[str, Any]:
    """All members of a chunk but for its choices and its usage. Raises as `plain_chunk`."""
    return {key: value for key, value in _object(data).items() if key not in {"choices", "usage"}}


def _fast_or_plain(
    decode: Callable[[str], _T], refusals: tuple[type[Exception], ...], parse: Callable[[bytes], _T]
) -> Callable[[bytes], _T]:
    def read(data: bytes) -> _T:
        try:
            # As text, because what is skipped is not checked for being UTF-8.
            return decode(data.decode())
        except refusals:
            return parse(data)

    return read


read_chunk: Callable[[bytes], Chunk] = plain_chunk
"""Reader of a chunk, the fastest that there is. Raises as `plain_chunk`."""
read_event: Callable[[bytes], Event] = plain_event
"""Reader of an event of the responses API, likewise."""
if _msgspec is not None:
    read_chunk = _fast_or_plain(_msgspec.decode_chunk, _msgspec.REFUSALS, plain_chunk)
    read_event = _fast_or_plain(_msgspec.decode_event, _msgspec.REFUSALS, plain_event)


def is_bare_error(event: bytes, said: Mapping[str, Any]) -> bool:
    """Whether an event is an error by its name or its kind, without a member `error`."""
    return "error" in (said.get("object"), said.get("type")) or _ERROR_EVENT.match(event) is not None


def mapping(value: object) -> Mapping[str, object]:
    """An object as it was said; an empty one where something else was."""
    return value if isinstance(value, Mapping) else {}


def _object(data: bytes) -> dict[str, Any]:
    said = json.loads(data)
    if not isinstance(said, dict):
        raise NotAnObjectError
    return said


def _choice(said: object) -> Choice | None:
    if not isinstance(said, Mapping):
        return None
    logprobs = said.get("logprobs")
    return Choice(
        said.get("index", 0),
        said.get("delta"),
        said.get("text"),
        said.get("finish_reason"),
        said.get("token_ids"),
        Logprobs(logprobs.get("content"), logprobs.get("tokens")) if isinstance(logprobs, Mapping) else None,
        said.get("usage"),
    )
