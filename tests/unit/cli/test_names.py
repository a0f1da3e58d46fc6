"""Resource names as people type them."""

from __future__ import annotations

import pytest
import typer

from tallygate.cli.names import account_name, model_name, service_name


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
