"""Deltas: chunks of a stream whose tokens are counted without parsing each of them.

Parsing a chunk as JSON costs microseconds, and a stream has one for each token. But the chunks of a stream differ in
little more than the text they carry: a chunk that was parsed once is remembered as what comes before its text and what
comes behind it. One with the same beginning and the same end, and no quote in between, has the same structure, and
something in its text: it is counted for less than a tenth of that. Whatever is in the least different is parsed.
"""

from __future__ import annotations

import json
from enum import Enum

_TEMPLATES_MAX = 8
_TEMPLATE_BYTES_MAX = 2_048
_TRIES_AT_LEAST = 32
_BACKSLASH, _LF, _QUOTE = 92, 10, 34


class Kind(Enum):
    """What a piece of text is."""

    OUTPUT = "output"
    REASONING = "reasoning"


class Templates:
    """Remembers the shapes of a stream's chunks: bounded, and given up where no shape ever comes again."""

    __slots__ = ("_hits", "_known", "_tries", "is_learning")

    def __init__(self) -> None:
        self._known: list[tuple[int, bytes, int, bytes, Kind]] = []
        self._hits = 0
        self._tries = 0
        self.is_learning = True
        """Whether it is worth the while to learn more."""

    def match(self, event: bytes) -> Kind | None:
        """What kind of text an event carries; None if it has to be parsed to know."""
        for begin, before, end, behind, kind in self._known:
            # Slices, and numbers sought with `in`: methods of bytes cost several times as much.
            if event[end:] == behind and event[:begin] == before:
                text = event[begin:end]
                if text and _QUOTE not in text and _LF not in text and text[-1] != _BACKSLASH:
                    self._hits += 1
                    return kind
        return None

    def learn(self, event: bytes, said: tuple[str, str] | None, kind: Kind) -> None:
        """Remembers an event that carries one text under one key and says nothing else that counts.

        Args:
            event: The event.
            said: Key and text; None if it is no such event, of which there may be too many as well.
            kind: What kind of text it is.
        """
        self._tries += 1
        if self._tries > _TRIES_AT_LEAST + self._hits // 4:
            self.is_learning = False
            # To look for what is known would cost each event that is none of it.
            self._known.clear()
            return
        place = None if said is None else _find_text(event, *said)
        if place is None:
            return
        before, behind = event[: place[0]], event[place[1] :]
        if len(before) + len(behind) <= _TEMPLATE_BYTES_MAX:
            self._known.insert(0, (len(before), before, -len(behind), behind, kind))
            del self._known[_TEMPLATES_MAX:]


def _find_text(event: bytes, key: str, text: str) -> tuple[int, int] | None:
    """Where the text stands, between its quotes, if the key is in there once."""
    for marker in (f'"{key}":"'.encode(), f'"{key}": "'.encode()):
        at = event.find(marker)
        if at < 0 or event.find(marker, at + 1) >= 0:
            continue
        begin = at + len(marker)
        end = event.find(b'"', begin)
        if begin < end and event[end - 1] != _BACKSLASH and _is_text(event[begin - 1 : end + 1], text):
            return begin, end
    return None


def _is_text(quoted: bytes, text: str) -> bool:
    try:
        return bool(json.loads(quoted) == text)
    except ValueError:
        return False
