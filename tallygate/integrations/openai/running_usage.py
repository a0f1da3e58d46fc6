"""Usage that a server was made to say in every chunk, and that its client shall not see.

vLLM (0.32) and SGLang (0.5.23) count each chunk's tokens where `stream_options.continuous_usage_stats` asks for it. The
client had not asked: the chunk it gets is byte for byte what the server would have written without.
"""

from __future__ import annotations

import re
from typing import NamedTuple

from tallygate.integrations.openai.json_members import MemberScanner

_BLOCK = re.compile(
    rb',"usage":\{"prompt_tokens":(\d{1,9}),"total_tokens":\d+,"completion_tokens":(\d{1,9})'
    rb'(?:,"(?:prompt_tokens_details|completion_tokens_details)":null|,"reasoning_tokens":0)*\}'
)
_KEY = b',"usage":{'
_NULL = b',"usage":null'
_SGLANG = b'"reasoning_tokens":'
_SGLANG_PLAIN_CHUNK = b'"delta":{"reasoning_content":'
_LENGTH_MAX = 4_096
_TAILS_MAX = 4


class Running(NamedTuple):
    """What a chunk's usage says, and the chunk without it."""

    input_tokens: int
    output_tokens: int
    shown: bytes


class RunningUsage:
    """Takes usage out of chunks that say nothing else that counts, without parsing them.

    What may follow a usage block at the end of a chunk is learned from chunks that were parsed. Pure.
    """

    __slots__ = ("_tails",)

    def __init__(self) -> None:
        self._tails = {b"}\n\n"}

    def match(self, event: bytes) -> Running | None:
        """Reads one whole event of one choice; None where it has to be parsed."""
        at = event.rfind(_KEY)
        if at < 0 or len(event) > _LENGTH_MAX or b'"finish_reason":"' in event or b'"error"' in event:
            return None
        found = _BLOCK.match(event, at)
        if found is None or event[found.end() :] not in self._tails or event[:7] != b"data: {":
            return None
        end = found.end()
        return Running(int(found[1]), int(found[2]), without(event, at, end))

    def learn(self, event: bytes) -> None:
        """Remembers what follows the usage block of an event that was parsed."""
        span = usage_span(event)
        if span is not None and len(self._tails) < _TAILS_MAX:
            found = _BLOCK.match(event, span[0])
            if found is not None and found.end() == span[1]:
                self._tails.add(event[span[1] :])


def without(event: bytes, begin: int, end: int) -> bytes:
    """An event without the usage that stands there, as its server would have written it.

    vLLM leaves `usage` out where there is none. So does SGLang for chunks with text; in all others it writes null.
    """
    if _SGLANG in event[begin:end] and _SGLANG_PLAIN_CHUNK not in event[:begin]:
        return event[:begin] + _NULL + event[end:]
    return event[:begin] + event[end:]


def usage_span(event: bytes) -> tuple[int, int] | None:
    """Where the usage of a chunk stands in its event, with the comma before it; None where it has none."""
    at = event.find(b"{")
    if at < 0:
        return None
    scanner = MemberScanner()
    scanner.feed(event[at:])
    span = scanner.spans.get("usage")
    return None if span is None else (at + span[0], at + span[1])
