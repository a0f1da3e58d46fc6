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


def usage_name(text: str) -> str:
    """An account or a service: `acme`, `acme/chat-prod`, or in full."""
    return account_name(text) if "/" not in text.removeprefix("accounts/") else service_name(text)


def reservation_name(text: str) -> str:
    """`acme/chat-prod/1` or `accounts/acme/services/chat-prod/reservations/1`."""
    match text.split("/"):
        case ["accounts", account, "services", service, "reservations", number] if account and service and number:
            return text
        case [account, service, number] if account and service and number:
            return f"accounts/{account}/services/{service}/reservations/{number}"
    raise typer.BadParameter(
        f"{text!r} is not a reservation; write it as acme/chat-prod/1 or "
        "accounts/acme/services/chat-prod/reservations/1"
    )


def model_name(text: str) -> str:
    """`llama` or `models/llama`."""
    parts = text.removeprefix("models/").split("/")
    if len(parts) != 1 or not parts[0]:
        raise typer.BadParameter(f"{text!r} is not a model; write it as llama or models/llama")
    return f"models/{parts[0]}"


def price_name(text: str) -> str:
    """`llama/2` or `models/llama/prices/2`."""
    match text.split("/"):
        case ["models", model, "prices", version] if model and version:
            return text
        case [model, version] if model and version and model != "models":
            return f"models/{model}/prices/{version}"
    raise typer.BadParameter(f"{text!r} is not a price; write it as llama/2 or models/llama/prices/2")


def team_name(text: str) -> str:
    """`acme/search` or `accounts/acme/teams/search`."""
    match text.split("/"):
        case ["accounts", account, "teams", team] if account and team:
            return text
        case [account, team] if account and team and account != "accounts":
            return f"accounts/{account}/teams/{team}"
    raise typer.BadParameter(f"{text!r} is not a team; write it as acme/search or accounts/acme/teams/search")


def key_name(text: str) -> str:
    """`acme/first` or `accounts/acme/keys/first`."""
    match text.split("/"):
        case ["accounts", account, "keys", key] if account and key:
            return text
        case [account, key] if account and key and account != "accounts":
            return f"accounts/{account}/keys/{key}"
    raise typer.BadParameter(f"{text!r} is not a key; write it as acme/first or accounts/acme/keys/first")


def webhook_name(text: str) -> str:
    """`acme/pager` or `accounts/acme/webhooks/pager`."""
    match text.split("/"):
        case ["accounts", account, "webhooks", webhook] if account and webhook:
            return text
        case [account, webhook] if account and webhook and account != "accounts":
            return f"accounts/{account}/webhooks/{webhook}"
    raise typer.BadParameter(f"{text!r} is not a webhook; write it as acme/pager or accounts/acme/webhooks/pager")


def scope_name(text: str) -> str:
    """`platform`, `acme`, `acme/search`, or in full."""
    if text in ("", "platform"):
        return text
    bare = text.removeprefix("accounts/").replace("/teams/", "/")
    return team_name(bare) if "/" in bare else account_name(bare)


def service_account_name(text: str) -> str:
    """`gateway` of the platform, `acme/gateway`, `acme/search/gateway`, or in full."""
    if "serviceAccounts/" in text:
        return text
    *scope, one = text.split("/")
    if not one or len(scope) > 2 or not all(scope):  # noqa: PLR2004  # an account and a team
        raise typer.BadParameter(f"{text!r} is not a service account; write it as gateway, acme/gateway or in full")
    return "/".join([*([scope_name("/".join(scope))] if scope else []), "serviceAccounts", one])


def token_name(text: str) -> str:
    """The id of a token of one's own, or the name of any in full."""
    return text if "accessTokens/" in text else f"accessTokens/{text}"


def member_name(text: str) -> str:
    """`serviceAccount:acme/gateway`, `person:ISSUER#SUBJECT`, `group:ISSUER#GROUP` or `certificate:URI`."""
    kind, colon, rest = text.partition(":")
    if kind == "serviceAccount" and rest:
        return f"serviceAccount:{service_account_name(rest)}"
    if colon and rest and kind in ("person", "group", "certificate"):
        return text
    raise typer.BadParameter(
        f"{text!r} is no member; "
        "write person:ISSUER#SUBJECT, group:ISSUER#GROUP, serviceAccount:NAME or certificate:URI"
    )
