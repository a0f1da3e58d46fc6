"""The same facts as of `events`, decoded by msgspec. Importable only where that is installed.

What has another type than these is refused, and left to the slow road. Where a type would be taken for another one (1.0
for an integer), it is left open.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, cast

import msgspec

if TYPE_CHECKING:
    from tallygate.integrations.openai.events import Chunk, Event


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


# They have the same attributes, and nobody asks for more.
decode_chunk = cast("Callable[[str], Chunk]", msgspec.json.Decoder(_Chunk).decode)
decode_event = cast("Callable[[str], Event]", msgspec.json.Decoder(_Event).decode)
REFUSALS = (ValueError, RecursionError, msgspec.MsgspecError)
"""Errors of decoding. Only since version 0.21 msgspec's own are ValueErrors."""
