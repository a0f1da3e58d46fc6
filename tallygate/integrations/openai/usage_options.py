"""How a stream is made to say its usage: what is added to a request for it, and what is hidden of the answer again."""

from __future__ import annotations

from collections.abc import Mapping
from enum import Enum
from typing import Any, NamedTuple


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


class UsageFields(NamedTuple):
    """Where a request asks for the usage of its stream.

    Attributes:
        within: The field in which the others stand; empty for the request itself.
        final: Asks for usage at the end.
        running: Asks for usage in every chunk as well; it counts for nothing without the other one.
    """

    within: str
    final: str
    running: str

    def said(self, content: Mapping[str, Any]) -> Mapping[str, Any] | None:
        """What has these fields in a request, empty where it has none of them; None where it is no object."""
        if not self.within:
            return content
        options = content.get(self.within)
        return {} if options is None else options if isinstance(options, Mapping) else None

    def changes(self, content: Mapping[str, Any], truths: Mapping[str, bool]) -> dict[str, Any]:
        """What to change of a request so that these fields are as given."""
        return {self.within: {**(self.said(content) or {}), **truths}} if self.within else dict(truths)


NESTED = UsageFields("stream_options", "include_usage", "continuous_usage_stats")
"""Of the chat and completions APIs."""
FLAT = UsageFields("", "stream_include_usage", "stream_continuous_usage_stats")
"""Of forms, as vLLM (0.32) reads them, since these have no objects."""


class UsageOptions(NamedTuple):
    """What a request says of the usage of its stream, and what is to be added.

    Attributes:
        wants_usage: The client gets a chunk with usage at the end.
        hides_usage: That chunk was asked for on the client's behalf and must not reach it.
        hides_running: Usage in all other chunks was, too.
        changes: What to change of the request so that it asks for it all.
    """

    wants_usage: bool
    hides_usage: bool
    hides_running: bool
    changes: Mapping[str, Any]


NO_USAGE = UsageOptions(wants_usage=False, hides_usage=False, hides_running=False, changes={})


def ask_for_usage(content: Mapping[str, Any], mode: StreamUsage, fields: UsageFields) -> UsageOptions:
    """Has a request for a stream ask for usage.

    Args:
        content: The request, its truths written plainly.
        mode: How.
        fields: Where it asks for it.
    """
    said = fields.said(content)
    wants = mode is StreamUsage.FORCED or (said is not None and said.get(fields.final) is True)
    says_running = said is not None and said.get(fields.running) is True
    asks_running = mode is StreamUsage.RUNNING
    # Where the options are no object, the server says what is wrong with them.
    is_left = said is None or mode in {StreamUsage.NONE, StreamUsage.FORCED}
    if is_left or (wants and (says_running or not asks_running)):
        return UsageOptions(wants, hides_usage=False, hides_running=False, changes={})
    truths = {fields.final: True, fields.running: True} if asks_running else {fields.final: True}
    hides_running = (asks_running or says_running) and not (wants and says_running)
    changes = fields.changes(content, truths)
    return UsageOptions(wants, hides_usage=not wants, hides_running=hides_running, changes=changes)
