"""Secrets that tenants bring along."""

import secrets
import string

import pytest

from control_service.domain.brought_secret import LENGTH_MAX, LENGTH_MIN, is_suitable
from tallygate._access.key_text import ID_BYTES, SECRET_BYTES, key_text, secret_id_of
from tallygate._access.token_text import token_id_of, token_text


@pytest.mark.parametrize(
    "secret",
    [
        "",
        "k",
        "x7Kd9-Qm2pLzR4vTn8WbYc3HsJ6fGa1",  # one too short
        "x7Kd9Qm2pLzR4vTn8WbYc3HsJ6fGa1Ue" * 200,  # too long
        "sk-" + "a" * 40,
        "ab" * 30,
        "sk-" + "0123456789abcdef" * 3,
        "1234567890" * 4,
        "abcdefghijklmnopqrstuvwxyz0123456789",
        "sk-proj-abcdefghijklmnopqrstuvwxyz0123456789",
        "YOUR_API_KEY_HERE_YOUR_API_KEY_HERE_1",
        "sk-your-openai-key-goes-in-this-place-7Q",
        "please-change-me-please-2Kd9Qm2pLzR4vT",
        "sk-proj-XXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXX7Kd9Qm",
        "this secret has spaces 7Kd9Qm2pLzR4vTn8WbYc",
        "schlüssel-7Kd9Qm2pLzR4vTn8WbYc3HsJ6f",
        "7Kd9Qm2pLzR4vTn8WbYc3HsJ6fGa1\n7Kd9",
        token_text(token_id_of(bytes(range(15))), bytes(range(32))),
    ],
)
def test_an_unsuitable_secret_is_refused(secret: str) -> None:
    """Too short or too long, of few characters, repeated, counted, a placeholder, not plain; or a token of ours."""
    assert not is_suitable(secret)


@pytest.mark.parametrize(
    "secret",
    [
        "x7Kd9Qm2pLzR4vTn8WbYc3HsJ6fGa1Ue",
        "sk-proj-x7Kd9Qm2pLzR4vTn8WbYc3HsJ6fGa1Ue_0-T5",
        "8c2f1a9e7b3d406f95e1c7a2b8d4f0639e5a1c7b",
        "1f0c2e4a-97b3-4d5e-8a6f-0b1c9d2e3f47-extra",
        key_text(secret_id_of(bytes(range(10))), bytes(range(0, 256, 8))),
    ],
)
def test_a_good_secret_is_taken(secret: str) -> None:
    """Of whatever shape; also a key of another server like this one."""
    assert is_suitable(secret)


def test_hardly_any_random_secret_is_refused() -> None:
    """Of the least length, in letters and digits or in hexadecimal digits."""
    for alphabet in (string.ascii_letters + string.digits, string.hexdigits.lower()[:16]):
        drawn = ("".join(secrets.choice(alphabet) for _ in range(LENGTH_MIN)) for _ in range(5_000))
        assert sum(not is_suitable(one) for one in drawn) <= 50


def test_the_longest_secret_is_judged() -> None:
    """In the time that a call may take."""
    assert is_suitable(secrets.token_hex(LENGTH_MAX // 2))


def test_the_text_of_a_key_has_an_id_a_secret_and_a_checksum() -> None:
    """Two keys have nothing in common but the prefix."""
    one = key_text(secret_id_of(secrets.token_bytes(ID_BYTES)), secrets.token_bytes(SECRET_BYTES))
    prefix, secret_id, secret, checksum = one.split("-")
    assert (prefix, len(secret_id), len(secret), len(checksum)) == ("sk", 16, 52, 8)
