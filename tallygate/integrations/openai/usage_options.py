"""How a stream is made to say its usage: what is added to a request for it, and what is hidden of the answer again."""

from __future__ import annotations

import json
from collections.abc import Mapping
from enum import Enum
from typing import Any, NamedTuple

_FIELDS = {
    "final": b',"stream_options":{"include_usage":true}}',
    "running": b',"stream_options":{"include_usage":true,"continuous_usage_stats":true}}',
}


class StreamUsage(Enum):
    """How servers are made to say the usage of a stream."""

    RUNNING = "running"
    """In every chunk and at the end: what vLLM and SGLang can do. Others ignore the part that they do not know."""
    FINAL = "final"
    """At the end."""
    NONE = "none"
    """Not at all: nothing is added to a request."""
    FORCED = "forced"
    """The server says it at the end whatever was asked, and its clients know: nothing is added, nothing hidden."""


_ORDER = (StreamUsage.NONE, StreamUsage.FINAL, StreamUsage.RUNNING)


def least_usage(asked: StreamUsage, possible: StreamUsage) -> StreamUsage:
    """The lesser of what shall be asked for and what an API can say."""
    if asked is StreamUsage.FORCED:
        return asked
    return min(asked, possible, key=_ORDER.index)


class UsageOptions(NamedTuple):
    """What a request says of the usage of its stream, and what was added.

    Attributes:
        wants_usage: The client gets a chunk with usage at the end.
        hides_usage: That chunk was asked for on the client's behalf and must not reach it.
        hides_running: Usage in all other chunks was, too.
        body: The body that asks for it all.
    """

    wants_usage: bool
    hides_usage: bool
    hides_running: bool
    body: bytes


def ask_for_usage(content: Mapping[str, Any], raw: bytes, mode: StreamUsage, *, is_true: Any) -> UsageOptions:
    """Has a streaming request of the chat or completions API ask for usage.

    Args:
        content: The request, parsed.
        raw: The same, as it came: what is added is appended to it, so that all else stays as it is.
        mode: How.
        is_true: Tells whether a value counts as true for the server behind.
    """
    options = content.get("stream_options")
    said = options if isinstance(options, Mapping) else {}
    wants = is_true(said.get("include_usage")) or mode is StreamUsage.FORCED
    wants_running = wants and is_true(said.get("continuous_usage_stats"))
    if mode in {StreamUsage.NONE, StreamUsage.FORCED} or not (options is None or isinstance(options, Mapping)):
        # Where the options are no object, the server says what is wrong with them.
        return UsageOptions(wants, hides_usage=False, hides_running=False, body=raw)
    asks_running = mode is StreamUsage.RUNNING
    if wants and (wants_running or not asks_running):
        return UsageOptions(wants, hides_usage=False, hides_running=False, body=raw)
    hides_running = asks_running or is_true(said.get("continuous_usage_stats"))
    end = raw.rstrip(b" \t\r\n")
    if "stream_options" not in content and end.endswith(b"}"):
        body = end[:-1] + _FIELDS[mode.value]
    else:
        added: dict[str, object] = {**said, "include_usage": True}
        if asks_running:
            added["continuous_usage_stats"] = True
        body = json.dumps({**content, "stream_options": added}, separators=(",", ":")).encode()
    return UsageOptions(wants, hides_usage=not wants, hides_running=hides_running and not wants_running, body=body)
