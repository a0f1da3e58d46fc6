"""The base of readers whose streams pass to their clients as they are."""

from __future__ import annotations

import json
from abc import ABC, abstractmethod
from collections.abc import Mapping

from tallygate.integrations.openai.deltas import Kind
from tallygate.integrations.openai.events import NotAnObjectError
from tallygate.integrations.openai.reported_usage import EventCounts


class PlainReader(ABC):
    """Hides nothing, holds nothing back, and parses each event."""

    __slots__ = ("_has_ended", "failed")

    def __init__(self) -> None:
        self.failed = False
        """The server said that something went wrong."""
        self._has_ended = False

    @property
    def is_finished(self) -> bool:
        """Whether the stream itself says that no more text will come."""
        return self._has_ended

    @property
    def hides(self) -> bool:
        """Whether something of this stream is not for its client: never."""
        return False

    def match(self, event: bytes) -> Kind | None:  # noqa: ARG002  # no two events look alike
        """What a whole event carries, where that is known without parsing it: never."""
        return None

    def match_running(self, event: bytes) -> tuple[int, int, bytes] | None:  # noqa: ARG002  # as above
        """Running usage that is to be hidden: there is none."""
        return None

    def read(self, event: bytes, data: bytes, passed: int) -> tuple[EventCounts, bytes]:
        """Takes in one event: what it carries, and what has not passed of it.

        Raises:
            ValueError: Its data are no JSON object.
            RecursionError: They are nested too deeply.
        """
        said = json.loads(data)
        if not isinstance(said, dict):
            raise NotAnObjectError
        return self.read_members(said), event[passed:]

    @abstractmethod
    def read_members(self, members: Mapping[str, object]) -> EventCounts:
        """Takes in an event by its members."""

    def flush(self) -> bytes:
        """What was held back: nothing ever is."""
        return b""
