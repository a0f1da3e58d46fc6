"""The options by which a stream reports its usage: fields added to the request, and chunks hidden from the answer."""

from __future__ import annotations

from collections.abc import Mapping
from enum import Enum
from typing import Any, NamedTuple


class StreamUsage(Enum):
    """The ways in which servers are made to report the usage of a stream."""

    RUNNING = "running"
    """In every chunk and at the end: what vLLM and SGLang can do. Others ignore the part that they do not know."""
    FINAL = "final"
    """At the end."""
    NONE = "none"
    """Not at all: nothing is added to a request."""
    FORCED = "forced"
    """At the end, by the server's own settings, as its clients know: nothing is added, nothing hidden."""


_ORDER = (StreamUsage.NONE, StreamUsage.FINAL, StreamUsage.RUNNING)


def least_usage(wanted: StreamUsage, possible: StreamUsage) -> StreamUsage:
    """The lesser of the way that is wanted and the most that an API can report."""
    if wanted is StreamUsage.FORCED:
        return wanted
    return min(wanted, possible, key=_ORDER.index)


class UsageFields(NamedTuple):
    """The fields by which a request wants the usage of its stream.

    Attributes:
        within: The field in which the others stand; empty for the request itself.
        final: The field for usage at the end.
        running: The field for usage in every chunk as well; it counts for nothing without the other one.
    """

    within: str
    final: str
    running: str

    def find(self, content: Mapping[str, Any]) -> Mapping[str, Any] | None:
        """The object in a request that has these fields; empty where there is none, None where it is no object."""
        if not self.within:
            return content
        options = content.get(self.within)
        return {} if options is None else options if isinstance(options, Mapping) else None

    def changes(self, content: Mapping[str, Any], truths: Mapping[str, bool]) -> dict[str, Any]:
        """What to change of a request so that these fields are as given."""
        return {self.within: {**(self.find(content) or {}), **truths}} if self.within else dict(truths)


NESTED = UsageFields("stream_options", "include_usage", "continuous_usage_stats")
"""Fields of the chat and completions APIs."""
FLAT = UsageFields("", "stream_include_usage", "stream_continuous_usage_stats")
"""Fields of forms, which have no objects, as vLLM (0.32) reads them."""


class UsageOptions(NamedTuple):
    """A request's options for the usage of its stream, and the changes to them.

    Attributes:
        wants_usage: The client gets a chunk with usage at the end.
        hides_usage: That chunk was requested on the client's behalf and must not reach it.
        hides_running: Usage in all other chunks was, too.
        changes: Fields to change so that the request wants all of it.
    """

    wants_usage: bool
    hides_usage: bool
    hides_running: bool
    changes: Mapping[str, Any]


NO_USAGE = UsageOptions(wants_usage=False, hides_usage=False, hides_running=False, changes={})


def request_usage(content: Mapping[str, Any], mode: StreamUsage, fields: UsageFields) -> UsageOptions:
    """Options by which a request for a stream wants usage.

    Args:
        content: The request, its truths written plainly.
        mode: How.
        fields: The fields for that.
    """
    said = fields.find(content)
    wants = mode is StreamUsage.FORCED or (said is not None and said.get(fields.final) is True)
    says_running = said is not None and said.get(fields.running) is True
    asks_running = mode is StreamUsage.RUNNING
    # Where the options are no object, the server refuses them.
    is_left = said is None or mode in {StreamUsage.NONE, StreamUsage.FORCED}
    if is_left or (wants and (says_running or not asks_running)):
        return UsageOptions(wants, hides_usage=False, hides_running=False, changes={})
    truths = {fields.final: True, fields.running: True} if asks_running else {fields.final: True}
    hides_running = (asks_running or says_running) and not (wants and says_running)
    changes = fields.changes(content, truths)
    return UsageOptions(wants, hides_usage=not wants, hides_running=hides_running, changes=changes)
