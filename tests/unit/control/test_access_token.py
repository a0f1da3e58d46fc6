"""How long what a token makes may last."""

from dataclasses import replace

from control_service.domain.access_token import AccessToken

TOKEN = AccessToken("id", "person:https://login.example#ada", "", b"hash", create_us=1, expire_us=900)


def test_a_token_that_ends_makes_none_that_lasts_longer() -> None:
    """One without an end makes any."""
    assert TOKEN.opens_until_us == 900
    assert replace(TOKEN, expire_us=None).opens_until_us is None


def test_a_sign_in_may_make_tokens_that_last() -> None:
    """It is short so that its owner signs in again, and proves the owner itself."""
    assert replace(TOKEN, signed_in=True).opens_until_us is None
