"""The text of an access token: read back as it was written, and no other text is one."""

import hashlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tallygate._access.token_text import ID_BYTES, SECRET_BYTES, read_token, token_id_of, token_text

TEXT = token_text(token_id_of(bytes(range(ID_BYTES))), bytes(range(SECRET_BYTES)))


@given(st.binary(min_size=ID_BYTES, max_size=ID_BYTES), st.binary(min_size=SECRET_BYTES, max_size=SECRET_BYTES))
def test_a_token_is_read_as_it_was_written(random_id: bytes, secret: bytes) -> None:
    """By its id and the hash of all of its text."""
    text = token_text(token_id_of(random_id), secret)
    shown = read_token(text)
    assert shown is not None
    assert (shown.token_id, shown.sha256) == (token_id_of(random_id), hashlib.sha256(text.encode()).digest())
    assert secret.hex() not in repr(shown)


@given(st.integers(0, len(TEXT) - 1), st.sampled_from("abcdefghijklmnopqrstuvwxyz234567_0189ABC \n"))
def test_a_slip_of_the_pen_is_no_token(place: int, letter: str) -> None:
    """One letter that differs makes the checksum fail, or the form."""
    changed = TEXT[:place] + letter + TEXT[place + 1 :]
    assert (read_token(changed) is None) == (changed != TEXT)


@pytest.mark.parametrize(
    "text", ["", "tgt_", TEXT[:-1], f"{TEXT}a", f" {TEXT}", f"{TEXT}\n", TEXT.upper(), TEXT * 1000]
)
def test_other_texts_are_no_token(text: str) -> None:
    """However long they are."""
    assert read_token(text) is None
