"""What is stored of tokens, and ids that nobody makes up."""

import hashlib
import hmac
import os

from control_service.domain.api_key_seal import ApiKeySeal
from control_service.domain.token_seal import RANDOM_ID_BYTES, TokenSeal
from tallygate._access.token_text import ID_BYTES, read_token, token_id_of, token_text

PEPPER = bytes(range(32))


def test_an_id_of_this_server_is_known() -> None:
    """One of another server, a changed one, and a random one are not."""
    seal, other = TokenSeal(PEPPER), TokenSeal(PEPPER[::-1])
    own = seal.new_id(bytes(RANDOM_ID_BYTES))
    assert seal.is_own_id(own)
    assert not other.is_own_id(own)
    assert not seal.is_own_id(("b" if own[0] == "a" else "a") + own[1:])
    assert not any(seal.is_own_id(token_id_of(os.urandom(ID_BYTES))) for _ in range(1_000))


def test_what_is_no_id_is_not_an_own_one() -> None:
    """Whatever it is: nodes forward what callers show."""
    seal = TokenSeal(PEPPER)
    assert not any(seal.is_own_id(text) for text in ("", "a", "a" * 23, "1" * 24, "ü" * 24, "a" * 24, "a" * 32))


def test_what_is_stored_needs_the_pepper() -> None:
    """It is HMAC-SHA-256, by the pepper, of the SHA-256 of the token's text."""
    seal = TokenSeal(PEPPER)
    text = token_text(seal.new_id(bytes(RANDOM_ID_BYTES)), bytes(32))
    shown = read_token(text)
    assert shown is not None
    assert seal.hash_of(shown.sha256) == seal.hash_of_text(text)
    assert seal.hash_of_text(text) == hmac.new(PEPPER, hashlib.sha256(text.encode()).digest(), "sha256").digest()
    assert seal.hash_of_text(text) != TokenSeal(PEPPER[::-1]).hash_of_text(text)


def test_nothing_shows_the_pepper() -> None:
    """Neither a seal that is printed nor its attributes in a traceback."""
    assert PEPPER.hex() not in repr(TokenSeal(PEPPER))


def test_a_keys_hash_is_no_tokens_hash() -> None:
    """What is stored of an API key needs the pepper as well, and a key of its own that is made of it."""
    seal = TokenSeal(PEPPER)
    keys, text = ApiKeySeal(seal), "sk-whatever"
    sha256 = hashlib.sha256(text.encode()).digest()
    own = hmac.new(PEPPER, b"tallygate api key", "sha256").digest()
    assert keys.hash_of(sha256) == keys.hash_of_text(text) == hmac.new(own, sha256, "sha256").digest()
    assert keys.hash_of_text(text) != seal.hash_of_text(text)
    assert keys.hash_of_text(text) != ApiKeySeal(TokenSeal(PEPPER[::-1])).hash_of_text(text)
