"""Texts that people write for people: on one line, and nothing that steers a terminal or turns other text around."""

import unicodedata
from typing import Final

BIDI_CONTROLS: Final = frozenset("\u061c\u200e\u200f\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069")
"""Characters that change the direction of text, so that the text shown is not the one written."""

_REFUSED_CATEGORIES: Final = frozenset({"Cc", "Cs", "Zl", "Zp"})
"""Control characters (C0, DEL, C1), halves of pairs, line and paragraph separators."""


def is_plain(text: str) -> bool:
    """Whether the text may be shown anywhere as it is."""
    return (text.isascii() and text.isprintable()) or not any(map(_is_refused, text))


def _is_refused(character: str) -> bool:
    return character in BIDI_CONTROLS or unicodedata.category(character) in _REFUSED_CATEGORIES
