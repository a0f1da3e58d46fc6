"""Resource names as people type them."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import typer

from tallygate.cli import names
from tallygate.cli.names import account_name, key_name, model_name, service_name


def test_short_and_full_names_are_the_same() -> None:
    """Both spellings give the full name."""
    assert account_name("acme") == account_name("accounts/acme") == "accounts/acme"
    assert model_name("llama") == model_name("models/llama") == "models/llama"
    full = "accounts/acme/services/chat-prod"
    assert service_name("acme/chat-prod") == service_name(full) == full


@pytest.mark.parametrize("text", ["", "acme", "acme/", "/chat", "accounts/acme", "a/b/c", "accounts/acme/models/x"])
def test_what_is_no_service_is_refused(text: str) -> None:
    """The error shows how to write one."""
    with pytest.raises(typer.BadParameter, match="acme/chat-prod"):
        service_name(text)


@pytest.mark.parametrize("text", ["", "a/b", "accounts/", "accounts/a/b"])
def test_what_is_no_account_is_refused(text: str) -> None:
    """An account is one word."""
    with pytest.raises(typer.BadParameter, match="accounts/acme"):
        account_name(text)


@pytest.mark.parametrize(
    ("parse", "short", "full"),
    [
        (names.team_name, "acme/search", "accounts/acme/teams/search"),
        (names.scope_name, "platform", "platform"),
        (names.scope_name, "acme", "accounts/acme"),
        (names.scope_name, "acme/search", "accounts/acme/teams/search"),
        (names.service_account_name, "gateway", "serviceAccounts/gateway"),
        (names.service_account_name, "acme/gateway", "accounts/acme/serviceAccounts/gateway"),
        (names.service_account_name, "acme/search/gateway", "accounts/acme/teams/search/serviceAccounts/gateway"),
        (names.token_name, "t1", "accessTokens/t1"),
        (names.member_name, "serviceAccount:acme/gateway", "serviceAccount:accounts/acme/serviceAccounts/gateway"),
        (names.member_name, "person:https://sso#42", "person:https://sso#42"),
        (names.member_name, "certificate:spiffe://fleet/a", "certificate:spiffe://fleet/a"),
    ],
)
def test_names_of_access_are_typed_short_or_in_full(parse: Callable[[str], str], short: str, full: str) -> None:
    """Both ways mean the same."""
    assert parse(short) == full
    assert parse(full) == full


@pytest.mark.parametrize(
    ("parse", "text"),
    [
        (names.team_name, "acme"),
        (names.team_name, "acme/"),
        (names.scope_name, "acme/search/x"),
        (names.service_account_name, "a/b/c/d"),
        (names.service_account_name, "acme//gateway"),
        (names.member_name, "alice"),
        (names.member_name, "user:alice"),
        (names.member_name, "person:"),
    ],
)
def test_other_names_of_access_are_refused(parse: Callable[[str], str], text: str) -> None:
    """With the two ways to write one."""
    with pytest.raises(typer.BadParameter, match="write"):
        parse(text)


@pytest.mark.parametrize("text", ["acme/first", "accounts/acme/keys/first"])
def test_a_key_is_named_with_its_account(text: str) -> None:
    """Shortly, or in full."""
    assert key_name(text) == "accounts/acme/keys/first"


@pytest.mark.parametrize("text", ["first", "acme/", "/first", "accounts/acme/first", "accounts/acme/services/first"])
def test_what_is_no_key_is_said_to_be_none(text: str) -> None:
    """With how one is written."""
    with pytest.raises(typer.BadParameter, match="is not a key"):
        key_name(text)
