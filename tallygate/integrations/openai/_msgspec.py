"""Decoders of `event_types` by msgspec. The module can be imported only where msgspec is installed.

A member of another type than these is refused, and the standard library parses that event. Where msgspec would take one
type for another (1.0 for an integer), the type is left open.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, cast

import msgspec

if TYPE_CHECKING:
    from tallygate.integrations.openai.event_types import Chunk, Event


class _Logprobs(msgspec.Struct, gc=False):
    # As they stand in the event: they are only counted.
    content: list[msgspec.Raw] | None = None
    tokens: list[msgspec.Raw] | None = None


class _Choice(msgspec.Struct, gc=False):
    index: Any = 0
    delta: Any = None
    text: Any = None
    finish_reason: Any = None
    token_ids: Any = None
    logprobs: _Logprobs | None = None
    usage: Any = None


class _Chunk(msgspec.Struct, gc=False):
    choices: list[_Choice] | None = None
    usage: Any = None
    error: Any = None


class _Event(msgspec.Struct, gc=False):
    type: Any = None
    sequence_number: Any = None
    output_index: Any = 0
    delta: Any = None
    item: Any = None
    response: Any = None


# These structs have the attributes of `Chunk` and `Event`, and callers use nothing else.
decode_chunk = cast("Callable[[str], Chunk]", msgspec.json.Decoder(_Chunk).decode)
decode_event = cast("Callable[[str], Event]", msgspec.json.Decoder(_Event).decode)
REFUSALS = (ValueError, RecursionError, msgspec.MsgspecError)
"""Errors of decoding. Only since version 0.21 msgspec's own are ValueErrors."""
