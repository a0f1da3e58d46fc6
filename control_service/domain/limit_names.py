"""Names of limits, and of what they hang on, to and from ids."""

import re
from typing import Final

from control_service.domain.limit import LimitSubject, Place, PlaceKind
from control_service.domain.names import MalformedNameError
from tallygate._wire.names import ACCOUNT_ID, API_KEY_ID, LIMIT_ID, MODEL_ID, SERVICE_ID, TEAM_ID

_ACCOUNT: Final = f"accounts/({ACCOUNT_ID})"
_RATE_RULE_NAME: Final = re.compile(f"(?:{_ACCOUNT}|models/({MODEL_ID}))/rateRules/({LIMIT_ID})")
_BUDGET_NAME: Final = re.compile(f"{_ACCOUNT}/budgets/({LIMIT_ID})")
_PLACE_NAME: Final = re.compile(
    f"models/(?P<MODEL>{MODEL_ID})"
    f"|accounts/(?P<ACCOUNT>{ACCOUNT_ID})"
    f"(?:/teams/(?P<TEAM>{TEAM_ID})|/services/(?P<SERVICE>{SERVICE_ID})|/keys/(?P<KEY>{API_KEY_ID}))?"
)


def parse_rate_rule(name: str) -> tuple[LimitSubject, str]:
    """The account or model in whose name a rule lies, and the rule's id. Raises MalformedNameError."""
    match = _RATE_RULE_NAME.fullmatch(name)
    if match is None:
        raise MalformedNameError(
            "must be accounts/{account}/rateRules/{rate_rule} or models/{model}/rateRules/{rate_rule}"
        )
    return LimitSubject(match[1] or "", match[2] or ""), match[3]


def parse_budget(name: str) -> tuple[str, str]:
    """The ids of account and budget. Raises MalformedNameError."""
    match = _BUDGET_NAME.fullmatch(name)
    if match is None:
        raise MalformedNameError("must be accounts/{account}/budgets/{budget}")
    return match[1], match[2]


def parse_place(name: str) -> Place:
    """What a limit hangs on, its unique id not known yet. Raises MalformedNameError."""
    match = _PLACE_NAME.fullmatch(name)
    if match is None:
        raise MalformedNameError(
            "must be models/{model}, accounts/{account}, or a team, a service or a key of an account"
        )
    if match["MODEL"]:
        return Place(PlaceKind.MODEL, resource_id=match["MODEL"])
    for kind in (PlaceKind.TEAM, PlaceKind.SERVICE, PlaceKind.KEY):
        if match[kind]:
            return Place(kind, match["ACCOUNT"], match[kind])
    return Place(PlaceKind.ACCOUNT, match["ACCOUNT"])
