"""Fields that requests for rate rules and for budgets have in common."""

from enum import StrEnum
from typing import TypeVar

from control_service.api.fields import Fields
from control_service.domain.limit import LimitSubject, Place, PlaceKind
from control_service.domain.limit_names import parse_budget, parse_place, parse_rate_rule
from control_service.domain.names import MalformedNameError
from tallygate._wire.enums import EnumNames

Member = TypeVar("Member", bound=StrEnum)


def decode_rate_rule_name(fields: Fields, name: str) -> tuple[LimitSubject, str]:
    """The account or model in whose name a rule lies, and the rule's id."""
    try:
        return parse_rate_rule(name)
    except MalformedNameError as error:
        fields.refuse("name", str(error))
        return LimitSubject(), ""


def decode_budget_name(fields: Fields, name: str) -> tuple[str, str]:
    """The ids in the name of a budget."""
    try:
        return parse_budget(name)
    except MalformedNameError as error:
        fields.refuse("name", str(error))
        return "", ""


def decode_place(fields: Fields, name: str, subject: LimitSubject) -> Place:
    """What a limit of this account or model hangs on: if nothing is named, the account or model itself."""
    own = Place(PlaceKind.MODEL if subject.model_id else PlaceKind.ACCOUNT, subject.account_id, subject.model_id)
    if not name:
        return own
    try:
        place = parse_place(name)
    except MalformedNameError as error:
        fields.refuse("place", str(error))
        return own
    if place.subject != subject:
        fields.refuse("place", f"must be {subject.name}, or lie in it, as the name says")
    return place


def required_member(fields: Fields, path: str, names: EnumNames, number: int, blank: Member) -> Member:
    """A value of an enum that must be said; `blank` where it is not."""
    kind = type(blank)
    member = fields.member(path, names, number, kind)
    if number == 0:
        fields.refuse(path, f"must be one of {', '.join(kind)}")
    return member or blank
