"""Names of rate rules, budgets and what they hang on, as people type them: `acme/daily`, or in full."""

from __future__ import annotations

import typer


def rate_rule_name(text: str) -> str:
    """`acme/steady`, `models/llama/steady`, or in full."""
    match text.split("/"):
        case ["accounts" | "models", subject, "rateRules", rule] if subject and rule:
            return text
        case ["models", model, rule] if model and rule:
            return f"models/{model}/rateRules/{rule}"
        case [account, rule] if account and rule and account not in ("accounts", "models"):
            return f"accounts/{account}/rateRules/{rule}"
    raise typer.BadParameter(
        f"{text!r} is not a rate rule; write it as acme/steady, models/llama/steady, or in full, "
        "accounts/acme/rateRules/steady"
    )


def budget_name(text: str) -> str:
    """`acme/daily` or `accounts/acme/budgets/daily`."""
    match text.split("/"):
        case ["accounts", account, "budgets", budget] if account and budget:
            return text
        case [account, budget] if account and budget and account != "accounts":
            return f"accounts/{account}/budgets/{budget}"
    raise typer.BadParameter(f"{text!r} is not a budget; write it as acme/daily or accounts/acme/budgets/daily")


def place_name(text: str, limit: str) -> str:
    """What a limit of this name hangs on: `teams/search`, `services/chat` or `keys/ci` of its account, or in full."""
    if not text or text.startswith(("accounts/", "models/")):
        return text
    match text.split("/"):
        case ["teams" | "services" | "keys", one] if one and limit.startswith("accounts/"):
            return "/".join([*limit.split("/")[:2], text])
    raise typer.BadParameter(f"{text!r} is nothing that a limit hangs on; write teams/search, services/chat or keys/ci")


def subject_name(text: str) -> str:
    """`acme` or `accounts/acme`, or `models/llama`."""
    parts = text.removeprefix("accounts/").split("/")
    if text.startswith("models/") and len(parts) == 2 and parts[1]:  # noqa: PLR2004  # the collection and the id
        return text
    if len(parts) != 1 or not parts[0]:
        raise typer.BadParameter(
            f"{text!r} is no account and no model; write it as acme, accounts/acme or models/llama"
        )
    return f"accounts/{parts[0]}"
