"""The members of one JSON object, found while its bytes arrive, whatever its size."""

from __future__ import annotations

import json
import re
from collections.abc import Callable

VALUE_BYTES_MAX = 64 << 10
"""Maximum size of a value that is kept; of a longer one only the name is known."""
MEMBERS_MAX = 256
"""Maximum number of members that are kept."""

_OPEN, _CLOSE, _OPEN_LIST, _CLOSE_LIST, _COMMA, _COLON, _QUOTE = b'{}[],:"'
_ANSWERS = "predictions"
"""The member of Vertex AI's answer that is a list of answers."""
_INSIDE = frozenset({"response", "meta_info", "meta", "message", "choices", _ANSWERS})
"""Members that are scanned inside where they are too long to be kept: servers report usage in there."""
_LEVELS_MAX = 3
_TOP = re.compile(rb'["{}\[\],:]')
_DEEP = re.compile(rb'["{}\[\]]')
_IN_STRING = re.compile(rb'(?:[^"\\]++|\\.)*+', re.DOTALL)
# The parts of lists and objects without others in them; possessive, so that nothing is read twice.
_STRING = rb'"(?:[^"\\]++|\\.)*+"'
_FLAT_LIST = rb'\[(?:[^"{}\[\]]++|' + _STRING + rb")*+\]"
_FLAT = rb'[^"{}\[\]]++|' + _STRING + rb"|" + _FLAT_LIST
_FLAT_RUN = re.compile(rb"(?:" + _FLAT + rb"|\{(?:" + _FLAT + rb")*+\})*+", re.DOTALL)
_SPACES = b" \t\r\n"


class MemberScanner:
    """Scans one JSON object: which members it has at its top, where each lies, and the values of the small ones.

    Memory is bounded by `VALUE_BYTES_MAX` and `MEMBERS_MAX`; nothing is parsed but names. Pure.

    Attributes:
        size: Bytes taken in so far.
        members: Raw values of the members that have ended, by name. Too long ones are empty.
        spans: Of each of these, where it begins (with the comma before it, if there is one) and ends.
        name: The name of the member whose value is under way; None between members.
        begin: Where that member, or the one to come, begins, with the comma before it; or where the object ended.
        is_long: Whether that value is too long to be kept.
        is_closed: Whether the object has ended.
        has_more: Whether something other than white space came after its end.
        is_object: Whether it began as an object does; None before its first byte.
        inner: Of members that are too long to be kept and may have usage in them, their own members. Items of a list
            are named by their number.
    """

    __slots__ = (
        "_depth",
        "_escaped",
        "_in_string",
        "_inner",
        "_is_name",
        "_items",
        "_levels",
        "_on_item",
        "_part",
        "begin",
        "has_more",
        "inner",
        "is_closed",
        "is_long",
        "is_object",
        "members",
        "name",
        "size",
        "spans",
    )

    def __init__(self, levels: int = _LEVELS_MAX, on_item: Callable[[object], None] | None = None) -> None:
        """Begins.

        Args:
            levels: Number of levels that are scanned in members that are too long to be kept.
            on_item: Called with each item of a list of answers, parsed, when it has ended: then items are not kept,
                however many there are. Of one that is too long, with its small members; of one that is no JSON, with
                None.
        """
        self.size = 0
        self._on_item = on_item
        self.inner: dict[str, MemberScanner] = {}
        self._inner: MemberScanner | None = None
        self._items = -1
        self._levels = levels
        self.members: dict[str, bytes] = {}
        self.spans: dict[str, tuple[int, int]] = {}
        self.name: str | None = None
        self.is_closed = False
        self.has_more = False
        self.is_object: bool | None = None
        self.begin = 0
        self._depth = 0
        self._in_string = False
        self._escaped = False
        self._is_name = True
        self._part = bytearray()
        self.is_long = False

    @property
    def value(self) -> bytes:
        """The value under way, as far as it came; empty where it is too long to be kept."""
        return b"" if self.is_long or self.name is None else bytes(self._part)

    @property
    def safe(self) -> int:
        """How many bytes from the start cannot be part of a member whose name is not known yet."""
        return self.begin if self.name is None else self.size

    def feed(self, piece: bytes) -> None:
        """Takes in the next bytes."""
        at, kept_from, length = 0, 0, len(piece)
        while at < length:
            if self.is_closed:
                self.has_more = self.has_more or bool(piece[at:].strip(_SPACES))
                break
            if self._in_string:
                at = self._skip_string(piece, at)
                continue
            if self._depth > 1 and (run := _FLAT_RUN.match(piece, at)) is not None:
                at = run.end()
            found = (_TOP if self._depth <= 1 else _DEEP).search(piece, at)
            if self._depth == 0:
                self.is_object = found is not None and piece[found.start()] == _OPEN if self.is_object is None else True
            if found is None:
                break
            mark, at = piece[found.start()], found.end()
            kept_from = self._take(mark, piece, kept_from, at)
        self._keep(piece[kept_from:])
        self.size += length

    def _skip_string(self, piece: bytes, at: int) -> int:
        if self._escaped:
            self._escaped = False
            return at + 1
        found = _IN_STRING.match(piece, at)
        end = at if found is None else found.end()
        if end == len(piece):
            return end
        if piece[end] == _QUOTE:
            self._in_string = False
        else:
            self._escaped = True
        return end + 1

    def _take(self, mark: int, piece: bytes, kept_from: int, end: int) -> int:
        """Takes in a mark that ends at `end`; returns from where on the piece is still to be kept."""
        if mark == _QUOTE:
            self._in_string = True
        elif mark in {_OPEN, _OPEN_LIST}:
            self._depth += 1
            if self._depth == 1:
                self.begin = self.size + end
                if mark == _OPEN_LIST:
                    self._begin_item()
                return end
        elif mark in {_CLOSE, _CLOSE_LIST}:
            self._depth -= 1
            if self._depth == 0:
                self._end_member(piece[kept_from : end - 1], self.size + end - 1)
                self.begin = self.size + end - 1
                self.is_closed = True
                return end
        elif self._depth == 1 and mark == _COLON and self._is_name:
            self._keep(piece[kept_from : end - 1])
            self.name = _name(bytes(self._part))
            self._restart(is_name=False)
            return end
        elif self._depth == 1 and mark == _COMMA:
            self._end_member(piece[kept_from : end - 1], self.size + end - 1)
            self.begin = self.size + end - 1
            if self._items >= 0:
                self._begin_item()
            return end
        return kept_from

    def _begin_item(self) -> None:
        self._items += 1
        self.name = str(self._items)
        self._restart(is_name=False)

    def _end_member(self, rest: bytes, end: int) -> None:
        self._keep(rest)
        if self._items >= 0 and self._on_item is not None:
            self._on_item(_parse(bytes(self._part)) if self._inner is None else small_members(self._inner))
        elif self.name is not None and (self.name in self.members or len(self.members) < MEMBERS_MAX):
            self.members[self.name] = b"" if self.is_long else bytes(self._part)
            self.spans[self.name] = (self.begin, end)
            if self._inner is not None:
                self.inner[self.name] = self._inner
        self.name = None
        self._restart(is_name=True)

    def _restart(self, *, is_name: bool) -> None:
        self._part.clear()
        self._inner = None
        self.is_long = False
        self._is_name = is_name

    def _keep(self, part: bytes) -> None:
        if self.is_long:
            if self._inner is not None:
                self._inner.feed(part)
            return
        self._part += part
        if len(self._part) > VALUE_BYTES_MAX:
            if self._levels and (self._items >= 0 or self.name in _INSIDE):
                self._inner = MemberScanner(self._levels - 1, self._on_item if self.name == _ANSWERS else None)
                self._inner.feed(bytes(self._part))
            self._part.clear()
            self.is_long = True


def small_members(scanner: MemberScanner) -> dict[str, object]:
    """The members that were kept, parsed; those that are too long, or no JSON, are left out."""
    parsed: dict[str, object] = {}
    for name, raw in scanner.members.items():
        value = _parse(raw)
        if value is not None or raw.strip(_SPACES) == b"null":
            parsed[name] = value
    return parsed | {name: small_members(inner) for name, inner in scanner.inner.items()}


def _parse(raw: bytes) -> object:
    try:
        return json.loads(raw)
    except (ValueError, RecursionError):
        return None


def _name(raw: bytes) -> str:
    try:
        return str(json.loads(raw))
    except (ValueError, RecursionError):
        return ""
