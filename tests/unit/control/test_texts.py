"""Texts that people write: what is refused, and that nothing else is."""

import pytest

from control_service.api.fields import Fields
from control_service.domain.errors import InvalidRequestError
from control_service.domain.texts import is_plain

CONTROLS = [*map(chr, range(0x20)), "\x7f", *map(chr, range(0x80, 0xA0)), "\u2028", "\u2029"]
BIDI = [*"\u061c\u200e\u200f", *map(chr, range(0x202A, 0x202F)), *map(chr, range(0x2066, 0x206A))]


@pytest.mark.parametrize("character", [*CONTROLS, *BIDI])
def test_what_steers_a_terminal_or_turns_text_around_is_refused(character: str) -> None:
    """Wherever it stands, in every kind of text, by the name of its field."""
    for text in (character, f"{character}a", f"a{character}", f"Größe{character}大"):
        assert not is_plain(text)
        with pytest.raises(InvalidRequestError) as caught, Fields() as fields:
            fields.text("display_name", text)
            fields.labels("labels", {text: text})
            fields.aliases("aliases", [text])
        assert {path for path, _ in caught.value.violations} >= {
            "display_name",
            "labels.key",
            "labels.value",
            "aliases[0]",
        }


@pytest.mark.parametrize("text", ["", "chat", "[red]", "Größe 大 سلام", "नमस्\u200dते", "👩\u200d🔬", "\\x1b", "~"])
def test_every_language_may_be_written(text: str) -> None:
    """Joiners are part of some."""
    assert is_plain(text)
    with Fields() as fields:
        assert fields.text("display_name", text) == text
