"""Running usage: reported by the server in every chunk, and hidden from its client.

vLLM (0.32) and SGLang (0.5.23) count each chunk's tokens where `stream_options.continuous_usage_stats` asks for it. The
client had not asked: the chunk it gets is byte for byte what the server would have written without.
"""

from __future__ import annotations

import re

from tallygate.integrations.openai.json_members import MemberScanner

_KEY = b',"usage":{'
_AT_THE_END = re.compile(
    rb',"usage":\{"prompt_tokens":(\d{1,9}),"total_tokens":\d+,"completion_tokens":(\d{1,9})'
    rb'(?:,"completion_tokens_details":null)?(,"prompt_tokens_details":null,"reasoning_tokens":0'
    rb'(?:,"completion_tokens_details":null)?)?\}\}\n\n\Z'
).match
_END = b"}\n\n"
_NULL = b',"usage":null'
_NO_CHOICES = b'"choices":[]'
_SGLANG = b'"reasoning_tokens":'
_SGLANG_PLAIN_CHUNK = b'"delta":{"reasoning_content":'


def match_running(event: bytes) -> tuple[int, int, bytes] | None:
    """Reads an event of one choice that says nothing else that counts, without parsing it.

    Returns:
        Input tokens, output tokens, and the event without its usage; None where it has to be parsed.
    """
    at = event.rfind(_KEY)
    if at < 0 or b'"finish_reason":"' in event or b'"error"' in event or _NO_CHOICES in event:
        return None
    found = _AT_THE_END(event, at)
    if found is None:
        return None
    went_in, came_out, is_sglang = found.groups()
    shown = event[:at] + _END if is_sglang is None else without(event, at, found.end() - len(_END))
    return int(went_in), int(came_out), shown


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
