"""What the readers have in common whose streams pass to their clients as they are."""

from __future__ import annotations

from tallygate.integrations.openai.deltas import Kind


class PlainReader:
    """Hides nothing, holds nothing back, and parses each event."""

    __slots__ = ("failed",)

    def __init__(self) -> None:
        self.failed = False
        """The server said that something went wrong."""

    @property
    def hides(self) -> bool:
        """Whether something of this stream is not for its client: never."""
        return False

    def match(self, event: bytes) -> Kind | None:  # noqa: ARG002  # no two events look alike
        """What a whole event carries, where it can be told without parsing it: never."""
        return None

    def match_running(self, event: bytes) -> tuple[int, int, bytes] | None:  # noqa: ARG002  # as above
        """Running usage that is to be hidden: there is none."""
        return None

    def flush(self) -> bytes:
        """What was held back: nothing ever is."""
        return b""
