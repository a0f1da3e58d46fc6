"""An event of which only the beginning has come: the bytes that may pass, and its small members if it is too long."""

from __future__ import annotations

import re

from tallygate.integrations.openai.json_members import MemberScanner
from tallygate.integrations.openai.running_usage import without
from tallygate.integrations.openai.sse import EMPTY_LINE, comment_bytes

EVENT_BYTES_MAX = 1 << 20
"""Maximum size of an event that is kept; of a longer one only the small members are read, and it passes as it comes."""
_HELD_BYTES_MAX = 128 << 10
_SOME_CHOICE = re.compile(rb"\s*\[\s*[^\]\s]")
# Behind the event's name, if it has one, and whatever else is no data.
_DATA = re.compile(rb"(?:(?!data:)[^\r\n]++(?>\r\n|\n|\r(?=.)))*+data: ?(?=.)", re.DOTALL)
_LINE_END_BYTES_MAX = 3
_LINE_END = re.compile(rb"\n")


class PartialEvent:
    """Follows one event while it arrives.

    With `hides`, its chunk may be one that the client shall not see, or have usage that it shall not see. Then bytes
    pass once a choice has been seen in it, up to where something may have to be cut. Pure.
    """

    __slots__ = ("_hides", "_scanned", "_start", "passed", "scanner")

    def __init__(self, *, hides: bool, is_line: bool) -> None:
        self._hides = hides
        self._start: int | None = 0 if is_line else None
        self._scanned = 0
        self.passed = 0
        """How many of its bytes have passed."""
        self.scanner = MemberScanner()

    def take(self, rest: bytes) -> bytes:
        """What may pass of an event that begins like this, and has not passed yet."""
        before = self.passed
        if not self._hides:
            self.passed = len(rest)
        elif self._find_data(rest):
            assert self._start is not None
            self.scanner.feed(rest[self._start + self._scanned :])
            self._scanned = len(rest) - self._start
            if self._has_choice():
                self.passed = max(self.passed, self._start + self._safe())
        return rest[before : self.passed]

    def _find_data(self, rest: bytes) -> bool:
        if self._start is None:
            begin = comment_bytes(rest)
            self.passed = max(self.passed, begin)
            found = _DATA.match(rest, begin)
            if found is None:
                return False
            self._start = found.end()
        return True

    def _has_choice(self) -> bool:
        scanner = self.scanner
        if scanner.name == "choices":
            return scanner.is_long or bool(_SOME_CHOICE.match(scanner.value))
        if "choices" not in scanner.members:
            return False
        value = scanner.members["choices"]
        return not value or bool(_SOME_CHOICE.match(value))

    def _safe(self) -> int:
        scanner = self.scanner
        if scanner.name == "usage":
            return scanner.begin
        span = scanner.spans.get("usage")
        return scanner.safe if span is None else span[0]


class LongEvent:
    """An event that is longer than what is kept: passes as it comes, but for its usage where that is hidden. Pure.

    Attributes:
        scanner: Has its small members once it has ended.
    """

    __slots__ = ("_before", "_data", "_hides", "_passed", "_separator", "_tail", "scanner")

    def __init__(self, rest: bytes, passed: int, *, hides: bool, is_line: bool) -> None:
        """Takes over.

        Args:
            rest: The beginning of the event.
            passed: How much of that has passed already.
            hides: As of `PartialEvent`.
            is_line: It is a line, not a server-sent event.
        """
        found = _DATA.match(rest, comment_bytes(rest))
        start = 0 if is_line else found.end() if found is not None else len(rest)
        self._hides = hides
        self._separator = _LINE_END if is_line else EMPTY_LINE
        self._tail = rest[-_LINE_END_BYTES_MAX:]
        self._before = rest[passed:start]
        self._data = rest[max(start, passed) :]
        self._passed = max(0, passed - start)
        self.scanner = MemberScanner()
        self.scanner.feed(rest[start:])

    def feed(self, piece: bytes) -> tuple[bytes, bytes | None]:
        """Takes in the next piece of the body; returns what passes, and what follows the event if it ends in there."""
        held = len(self._tail)
        found = self._separator.search(self._tail + piece)
        end = len(piece) if found is None else max(0, found.end() - held)
        self._tail = (self._tail + piece)[-_LINE_END_BYTES_MAX:]
        self.scanner.feed(piece[:end])
        self._data += piece[:end]
        return self._pass(is_over=found is not None), None if found is None else piece[end:]

    def close(self) -> bytes:
        """The body has ended: what is left of it."""
        return self._pass(is_over=True)

    def _pass(self, *, is_over: bool) -> bytes:
        before, self._before = self._before, b""
        return before + self._pass_data(is_over=is_over)

    def _pass_data(self, *, is_over: bool) -> bytes:
        scanner, passed = self.scanner, self._passed
        span = scanner.spans.get("usage") if self._hides else None
        if span is not None and span[0] >= passed:
            shown = without(self._data, span[0] - passed, span[1] - passed)
            self._hides = False
            self._passed = scanner.size
            self._data = b""
            return shown
        size = len(self._data)
        if self._hides and not is_over and size <= _HELD_BYTES_MAX:
            size = max(0, (scanner.begin if scanner.name in {None, "usage"} else scanner.size) - passed)
        shown, self._data = self._data[:size], self._data[size:]
        self._passed += len(shown)
        return shown
