"""Resource names as people type them: `acme`, `acme/chat-prod`, `llama`, or in full."""

from __future__ import annotations

import typer


def account_name(text: str) -> str:
    """`acme` or `accounts/acme`."""
    parts = text.removeprefix("accounts/").split("/")
    if len(parts) != 1 or not parts[0]:
        raise typer.BadParameter(f"{text!r} is not an account; write it as acme or accounts/acme")
    return f"accounts/{parts[0]}"


def service_name(text: str) -> str:
    """`acme/chat-prod` or `accounts/acme/services/chat-prod`."""
    match text.split("/"):
        case ["accounts", account, "services", service] if account and service:
            return text
        case [account, service] if account and service and account != "accounts":
            return f"accounts/{account}/services/{service}"
    raise typer.BadParameter(
        f"{text!r} is not a service; write it as acme/chat-prod or accounts/acme/services/chat-prod"
    )


def model_name(text: str) -> str:
    """`llama` or `models/llama`."""
    parts = text.removeprefix("models/").split("/")
    if len(parts) != 1 or not parts[0]:
        raise typer.BadParameter(f"{text!r} is not a model; write it as llama or models/llama")
    return f"models/{parts[0]}"
