"""Resource names: `accounts/{account}/services/{service}` and their like, to and from ids."""

import re
from typing import Final

from tallygate._access.scope import PLATFORM, Scope
from tallygate._wire.names import (
    ACCOUNT_ID,
    API_KEY_ID,
    CUSTOM_SERVICE_ID,
    DEFAULT_PREFIX,
    ID_MAX,
    MODEL_ID,
    SERVICE_ACCOUNT_ID,
    SERVICE_ID,
    TEAM_ID,
    WEBHOOK_ID,
)

_IDS: Final = (
    f"an id has 1 to {ID_MAX} lower-case letters, digits and hyphens, a model's also dots and underscores, "
    "and begins with a letter or digit"
)
_ACCOUNT_NAME: Final = re.compile(f"accounts/({ACCOUNT_ID})")
_MODEL_NAME: Final = re.compile(f"models/({MODEL_ID})")
_PRICE_NAME: Final = re.compile(f"models/({MODEL_ID})/prices/([1-9][0-9]{{0,17}})")
_SERVICE_NAME: Final = re.compile(f"accounts/({ACCOUNT_ID})/services/({SERVICE_ID})")
_CUSTOM_SERVICE_NAME: Final = re.compile(f"accounts/({ACCOUNT_ID})/services/({CUSTOM_SERVICE_ID})")
_TEAM_NAME: Final = re.compile(f"accounts/({ACCOUNT_ID})/teams/({TEAM_ID})")
_WEBHOOK_NAME: Final = re.compile(f"accounts/({ACCOUNT_ID})/webhooks/({WEBHOOK_ID})")
_TEAM_ID: Final = re.compile(TEAM_ID)
_API_KEY_NAME: Final = re.compile(f"accounts/({ACCOUNT_ID})/keys/({API_KEY_ID})")
_RESERVATION_NAME: Final = re.compile(
    f"accounts/({ACCOUNT_ID})/services/({SERVICE_ID})/reservations/([1-9][0-9]{{0,17}})"
)
_SCOPE: Final = f"(?:accounts/({ACCOUNT_ID})/(?:teams/({TEAM_ID})/)?)?"
_BINDING_NAME: Final = re.compile(f"{_SCOPE}bindings/([a-z0-9-]{{1,63}})")
_SERVICE_ACCOUNT_NAME: Final = re.compile(f"{_SCOPE}serviceAccounts/({SERVICE_ACCOUNT_ID})")
_ACCESS_TOKEN_NAME: Final = re.compile(
    f"(?:({_SCOPE}serviceAccounts/{SERVICE_ACCOUNT_ID})/)?accessTokens/([a-z2-7]{{24}})"
)


class MalformedNameError(ValueError):
    """A text that is no name of the expected kind; the message says what such a name looks like."""


def account_name(account_id: str) -> str:
    """`accounts/{account}`."""
    return f"accounts/{account_id}"


def model_name(model_id: str) -> str:
    """`models/{model}`."""
    return f"models/{model_id}"


def price_name(model_id: str, version: int) -> str:
    """`models/{model}/prices/{version}`."""
    return f"models/{model_id}/prices/{version}"


def service_name(account_id: str, service_id: str) -> str:
    """`accounts/{account}/services/{service}`."""
    return f"accounts/{account_id}/services/{service_id}"


def team_name(account_id: str, team_id: str) -> str:
    """`accounts/{account}/teams/{team}`."""
    return f"accounts/{account_id}/teams/{team_id}"


def api_key_name(account_id: str, key_id: str) -> str:
    """`accounts/{account}/keys/{key}`."""
    return f"{account_name(account_id)}/keys/{key_id}"


def rate_rule_name(subject: str, rule_id: str) -> str:
    """`rateRules/{rate_rule}` in the name of an account or a model."""
    return f"{subject}/rateRules/{rule_id}"


def budget_name(account_id: str, budget_id: str) -> str:
    """`accounts/{account}/budgets/{budget}`."""
    return f"{account_name(account_id)}/budgets/{budget_id}"


def reservation_name(account_id: str, service_id: str, number: int) -> str:
    """`accounts/{account}/services/{service}/reservations/{reservation}`."""
    return f"{service_name(account_id, service_id)}/reservations/{number}"


def event_name(account_id: str, service_id: str, number: int) -> str:
    """`accounts/{account}/services/{service}/events/{event}`."""
    return f"{service_name(account_id, service_id)}/events/{number}"


def ledger_entry_name(account_id: str, number: int) -> str:
    """`accounts/{account}/ledgerEntries/{entry}`."""
    return f"accounts/{account_id}/ledgerEntries/{number}"


def alert_name(account_id: str, number: int) -> str:
    """`accounts/{account}/alerts/{alert}`."""
    return f"accounts/{account_id}/alerts/{number}"


def webhook_name(account_id: str, webhook_id: str) -> str:
    """`accounts/{account}/webhooks/{webhook}`."""
    return f"accounts/{account_id}/webhooks/{webhook_id}"


def binding_name(scope: Scope, binding_id: str) -> str:
    """`bindings/{binding}` in the scope's name."""
    return f"{_prefix(scope)}bindings/{binding_id}"


def service_account_name(scope: Scope, service_account_id: str) -> str:
    """`serviceAccounts/{service_account}` in the scope's name."""
    return f"{_prefix(scope)}serviceAccounts/{service_account_id}"


def access_token_name(service_account: str, token_id: str) -> str:
    """`accessTokens/{access_token}` in the service account's name; a person's token is in none."""
    return f"{service_account}/accessTokens/{token_id}" if service_account else f"accessTokens/{token_id}"


def default_service_id(model_id: str) -> str:
    """The id of every account's default service for a model."""
    return DEFAULT_PREFIX + model_id


def model_of_default(service_id: str) -> str | None:
    """The model id in a default service's id; None for a custom service's."""
    return service_id.removeprefix(DEFAULT_PREFIX) if service_id.startswith(DEFAULT_PREFIX) else None


def parse_account(name: str) -> str:
    """The account's id. Raises MalformedNameError."""
    return _match(_ACCOUNT_NAME, name, "accounts/{account}")[1]


def parse_model(name: str) -> str:
    """The model's id. Raises MalformedNameError."""
    return _match(_MODEL_NAME, name, "models/{model}")[1]


def parse_price(name: str) -> tuple[str, int]:
    """The model's id and the version. Raises MalformedNameError."""
    match = _match(_PRICE_NAME, name, "models/{model}/prices/{price}")
    return match[1], int(match[2])


def parse_service(name: str) -> tuple[str, str]:
    """The ids of account and service. Raises MalformedNameError."""
    match = _match(_SERVICE_NAME, name, "accounts/{account}/services/{service}")
    return match[1], match[2]


def parse_custom_service(name: str) -> tuple[str, str]:
    """The ids of account and custom service. Raises MalformedNameError, also for the reserved prefix `default-`."""
    shape = "accounts/{account}/services/{service}, with an id that does not begin with default-"
    match = _match(_CUSTOM_SERVICE_NAME, name, shape)
    return match[1], match[2]


def parse_team(name: str) -> tuple[str, str]:
    """The ids of account and team. Raises MalformedNameError."""
    match = _match(_TEAM_NAME, name, "accounts/{account}/teams/{team}")
    return match[1], match[2]


def parse_webhook(name: str) -> tuple[str, str]:
    """The ids of account and webhook. Raises MalformedNameError."""
    match = _match(_WEBHOOK_NAME, name, "accounts/{account}/webhooks/{webhook}")
    return match[1], match[2]


def parse_team_id(text: str) -> str:
    """The id of a team, without its account. Raises MalformedNameError."""
    return _match(_TEAM_ID, text, f"the id of a team, {TEAM_ID}")[0]


def parse_api_key(name: str) -> tuple[str, str]:
    """The ids of account and key. Raises MalformedNameError."""
    match = _match(_API_KEY_NAME, name, "accounts/{account}/keys/{key}")
    return match[1], match[2]


def parse_reservation(name: str) -> tuple[str, str, int]:
    """The ids of account and service and the reservation's number. Raises MalformedNameError."""
    shape = "accounts/{account}/services/{service}/reservations/{reservation}"
    match = _match(_RESERVATION_NAME, name, shape)
    return match[1], match[2], int(match[3])


def parse_binding(name: str) -> tuple[Scope, str]:
    """Scope and id of the binding. Raises MalformedNameError."""
    match = _match(_BINDING_NAME, name, "the name of a binding, {scope}/bindings/{binding}")
    return Scope(match[1] or "", match[2] or ""), match[3]


def parse_service_account(name: str) -> tuple[Scope, str]:
    """Scope and id of the service account. Raises MalformedNameError."""
    shape = "the name of a service account, {scope}/serviceAccounts/{service_account}"
    match = _match(_SERVICE_ACCOUNT_NAME, name, shape)
    return Scope(match[1] or "", match[2] or ""), match[3]


def parse_access_token(name: str) -> tuple[str, str]:
    """The name of the service account, empty of a person's token, and the token's id. Raises MalformedNameError."""
    shape = "the name of a token, accessTokens/{access_token} or {service account}/accessTokens/{access_token}"
    match = _match(_ACCESS_TOKEN_NAME, name, shape)
    return match[1] or "", match[4]


def _prefix(scope: Scope) -> str:
    return "" if scope == PLATFORM else f"{scope.name}/"


def _match(pattern: re.Pattern[str], name: str, shape: str) -> re.Match[str]:
    match = pattern.fullmatch(name)
    if match is None:
        raise MalformedNameError(f"must be {shape}; {_IDS}")
    return match
